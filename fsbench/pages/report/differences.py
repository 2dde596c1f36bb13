"""Where two methods differ: the differences of a study's methods on parts of its test, arranged for a page."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations
from typing import Any

import numpy as np

from fsbench.base.errors import FsbenchError
from fsbench.pages.report.matrix import comparable_methods
from fsbench.results.rows.comparable import Methods, check_same
from fsbench.results.rows.parts import PART_KINDS
from fsbench.results.rows.row import ALL, CLASS, FOLD, PRESENCE, SIZE, ResultRow
from fsbench.results.rows.scoring import Measure, Request, Sums, difference_rows
from fsbench.results.sheets.cells import is_too_few
from fsbench.scores.estimate import Scope

KINDS = {kind: PART_KINDS[kind].head if kind in PART_KINDS else kind for kind in (CLASS, SIZE, FOLD, PRESENCE)}
"""Kind of a part -> the head of its column, in the order of the page."""


class Bearing(IntEnum):
    """What a difference between two methods shows: whether they are told apart, for any supports or only for these."""

    EVEN = 0
    APART = 1
    EVEN_HERE = 2
    APART_HERE = 3
    FEW = 4
    NONE = 5

    @property
    def is_apart(self) -> bool:
        return self in (Bearing.APART, Bearing.APART_HERE)

    @property
    def is_conditional(self) -> bool:
        return self in (Bearing.EVEN_HERE, Bearing.APART_HERE)


def bearing(row: ResultRow) -> Bearing:
    """Return whether a difference tells two methods apart, by its corrected p-value, and for which supports."""
    if is_too_few(row.estimate):
        return Bearing.FEW
    if not row.estimate.has_interval:
        return Bearing.NONE
    if row.estimate.scope is Scope.THESE_SUPPORTS:
        return Bearing.APART_HERE if row.significant else Bearing.EVEN_HERE
    return Bearing.APART if row.significant else Bearing.EVEN


@dataclass(frozen=True)
class Differences:
    """Differences between methods on parts of a test, such as single classes or ranges of object sizes.

    Attributes:
        methods: Labels of the methods, the best first.
        metrics: Names of the scores.
        rows: Differences of every two methods on each part, the first in `methods` minus the second.
    """

    methods: list[str]
    metrics: list[str]
    rows: list[ResultRow]

    def kinds(self) -> list[str]:
        """Return the available kinds of breakdown, in the order of `KINDS`."""
        return [kind for kind in KINDS if any(row.part_kind == kind for row in self.rows)]

    def between(self, first: str, second: str, kind: str, metric: str) -> list[ResultRow]:
        """Return the differences of two methods, first minus second, by one kind of breakdown; the largest first."""
        chosen = (row for row in self.rows if row.part_kind == kind and row.metric == metric)
        found = [row for row in chosen if {row.method, row.minus} == {first, second}]
        return sorted(
            (row if row.method == first else row.reversed() for row in found), key=lambda row: -row.estimate.value
        )

    def as_data(self) -> dict[str, Any]:
        """Return all differences as plain values, in the form that the script of the report's page reads.

        For M methods and P parts there are scores (M, P) in thousandths. For each pair of methods, first minus second,
        there are the ends of intervals (pairs, 2 P) in thousandths, and (pairs, P) values of `Bearing`, which say
        whether the methods are told apart. None stands for a missing value.
        """
        parts = {(row.part_kind, row.part, row.fold): row for row in self.rows}
        part_place = {key: place for place, key in enumerate(parts)}
        place = {label: number for number, label in enumerate(self.methods)}
        pair_place = {pair: number for number, pair in enumerate(combinations(self.methods, 2))}
        scores = {metric: np.full((len(place), len(parts)), np.nan) for metric in self.metrics}
        ends = {metric: np.full((len(pair_place), len(parts), 2), np.nan) for metric in self.metrics}
        bearings = {metric: np.full((len(pair_place), len(parts)), int(Bearing.NONE)) for metric in self.metrics}
        for row in self.rows:
            part, pair = part_place[row.part_kind, row.part, row.fold], pair_place[row.method, row.minus]
            scores[row.metric][[place[row.method], place[row.minus]], part] = row.scores
            ends[row.metric][pair, part] = row.estimate.low, row.estimate.high
            bearings[row.metric][pair, part] = bearing(row)
        return {
            "methods": self.methods,
            "metrics": self.metrics,
            "parts": [[*key, row.pairs, row.estimate.queries] for key, row in parts.items()],
            "scores": {metric: thousandths(values) for metric, values in scores.items()},
            "ends": {metric: _end_thousandths(values) for metric, values in ends.items()},
            "bearings": {metric: values.tolist() for metric, values in bearings.items()},
        }


def widest(rows: Sequence[ResultRow]) -> float:
    """Return the largest distance of an interval's end from zero, to scale bars; 1 if there are no intervals."""
    ends = [abs(end) for row in rows if row.estimate.has_interval for end in (row.estimate.low, row.estimate.high)]
    return max(ends, default=0.0) or 1.0


def thousandths(values: np.ndarray) -> list[list[int | None]]:
    """Return numbers as rounded thousandths for the page's script, row by row; None for NaN."""
    return [[None if np.isnan(value) else round(1000 * value) for value in line] for line in values.tolist()]


def _end_thousandths(ends: np.ndarray) -> list[list[int | None]]:
    """Return ends (pairs, P, 2) as `thousandths` does, (pairs, 2 P); one beside 0 stays on its side of it."""
    least = np.where(np.abs(ends) < 1e-3, np.sign(ends) * 1e-3, ends)
    return thousandths(least.reshape(len(ends), -1))


def differences_by_part(
    methods: Methods, metrics: Sequence[str], most: int | None, measure: Measure | None = None
) -> Differences | None:
    """Compare methods that have the same folds by class, object size and other breakdowns.

    P-values are not corrected yet; the caller corrects them together with all others on the page. Breakdowns with a
    single part are left out, since that part is the whole test.

    Args:
        methods: {label: {fold: runs}}, the best method first.
        metrics: Names of the study's scores. Compared are the first of them that two methods have, and accuracy, the
            only score for queries that do not show the class.
        most: Largest number of methods; None for a usual number (see `comparable_methods`).
        measure: Takes a run and measures on its predictions what scores beyond pixel counts need; None if not needed.

    Returns:
        The differences; None if fewer than two methods share folds, or no two have one of the metrics.
    """
    compared, _ = comparable_methods(methods, most)
    if len(compared) < 2:
        return None
    try:
        check_same(compared)
    except FsbenchError:  # the comparison in pairs says why
        return None
    pairs, sums = list(combinations(compared, 2)), Sums(measure)
    for main in metrics:
        taken = list(dict.fromkeys([main, *(name for name in metrics if name == "accuracy")]))
        rows = difference_rows(compared, pairs, Request(tuple(taken), tuple(KINDS), measure=measure), sums)
        if any(row.metric == main for row in rows):
            break
    else:
        return None
    parts = Counter(kind for kind, *_ in {(row.part_kind, row.part, row.fold) for row in rows})
    kept = [row for row in rows if row.part_kind != ALL and parts[row.part_kind] > 1]
    return Differences(list(compared), taken, kept)
