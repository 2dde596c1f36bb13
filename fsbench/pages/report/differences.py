"""Where two methods differ: their scores on the classes, object sizes, folds and queries with and without the class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import FsbenchError
from fsbench.pages.report.matrix import comparable_methods
from fsbench.records.record import Record
from fsbench.results.tables.comparable import Methods, check_same
from fsbench.results.tables.layout import ALPHA, is_too_few
from fsbench.results.tables.rescoring.statistics import subset_statistics, whole_statistics
from fsbench.results.tables.subsets import ABSENT, SIZES, is_of_absent, pairs_by_class, pairs_by_size
from fsbench.scores.estimate import Estimate, Scope, differences
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    from fsbench.results.tables.rescoring.measures import Measures

KINDS = {"class": "class", "size": "object size", "fold": "fold", "presence": "presence"}
"""Kind of a breakdown -> the head of its column."""

SHOWN = "shown in the query"

Selector = Callable[[Record], np.ndarray] | None
"""Selects the rows (rows,) bool of a part in a count table; None: whole episodes, scored as the table's are."""


@dataclass(frozen=True)
class Part:
    """A part of the episodes.

    Attributes:
        kind: Of `KINDS`.
        name: Of the class, the bin of sizes, the fold, or whether the query shows the way.
        fold: A number, or "mean".
        pairs: Number of (episode, way) pairs.
        images: Number of query images.
    """

    kind: str
    name: str
    fold: str
    pairs: int
    images: int = 0


class Bearing(IntEnum):
    """Strength of a difference: whether two methods are told apart, and whether that is for these supports alone."""

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


@dataclass(frozen=True)
class Line:
    """The difference of two methods on a part.

    Attributes:
        part: the part of the test.
        scores: the scores of the first and the second method.
        ends: ends of the 95 % interval of first minus second; NaN where there is none.
        bearing: how far the difference is told apart.
    """

    part: Part
    scores: tuple[float, float]
    ends: tuple[float, float]
    bearing: Bearing

    @property
    def moved(self) -> float:
        """First minus second."""
        return self.scores[0] - self.scores[1]


@dataclass(frozen=True)
class Differences:
    """Differences of M methods on P parts.

    Attributes:
        methods: Labels, the best first.
        parts: The parts.
        scores: Metric -> (M, P), NaN where a part has no such score.
        ends: Metric -> (pairs of methods, P, 2), the 95 % interval of first minus second, of each two in their order;
            NaN where there is none.
        bearings: Metric -> (pairs of methods, P), values of `Bearing`, see `judged`.
        found: (metric, pair, part) -> the difference, of those that there are; their p is for each alone.
    """

    methods: list[str]
    parts: list[Part]
    scores: dict[str, np.ndarray]
    ends: dict[str, np.ndarray]
    bearings: dict[str, np.ndarray]
    found: dict[tuple[str, int, int], Estimate]

    @property
    def metrics(self) -> list[str]:
        return list(self.scores)

    @property
    def p(self) -> list[float]:
        """p of each of `found`; NaN of one that is not tested."""
        return [each.p for each in self.found.values()]

    def judged(self, corrected: Sequence[float]) -> "Differences":
        """Return the same with what corrected p, in the order of `found`, say of each."""
        bearings = {metric: values.copy() for metric, values in self.bearings.items()}
        for ((metric, pair, i), each), p in zip(self.found.items(), corrected, strict=True):
            bearings[metric][pair, i] = _bearing(each, p)
        return replace(self, bearings=bearings)

    def kinds(self) -> list[str]:
        """Return the kinds that there are, in the order of `KINDS`."""
        return [kind for kind in KINDS if any(part.kind == kind for part in self.parts)]

    def lines(self, first: int, second: int, kind: str, metric: str) -> list[Line]:
        """Return the lines of two methods, the largest difference first."""
        swapped = first > second
        pair = list(combinations(range(len(self.methods)), 2)).index((min(first, second), max(first, second)))
        lines = []
        for i, part in enumerate(self.parts):
            a, b = self.scores[metric][[first, second], i].tolist()
            if part.kind == kind and not np.isnan(a - b):
                low, high = self.ends[metric][pair, i].tolist()
                ends = (-high, -low) if swapped else (low, high)
                lines.append(Line(part, (a, b), ends, Bearing(int(self.bearings[metric][pair, i]))))
        return sorted(lines, key=lambda line: -line.moved)

    def widest(self, first: int, second: int, kind: str, metric: str) -> float:
        """Return the end of these intervals that is farthest from zero, which bars span on either side; 1 for none."""
        ends = [abs(end) for line in self.lines(first, second, kind, metric) for end in line.ends if not np.isnan(end)]
        return max(ends, default=0.0) or 1.0

    def as_data(self) -> dict[str, Any]:
        """Return everything as the page's script takes it; scores in thousandths, None where there is none."""
        return {
            "methods": self.methods,
            "metrics": self.metrics,
            "parts": [[part.kind, part.name, part.fold, part.pairs, part.images] for part in self.parts],
            "scores": {metric: thousandths(values) for metric, values in self.scores.items()},
            "ends": {metric: _end_thousandths(values) for metric, values in self.ends.items()},
            "bearings": {metric: values.tolist() for metric, values in self.bearings.items()},
        }


def thousandths(values: np.ndarray) -> list[list[int | None]]:
    """Return a table of numbers in thousandths, rounded, as a page's script takes it; None for NaN."""
    return [[None if np.isnan(value) else round(1000 * value) for value in line] for line in values.tolist()]


def _end_thousandths(ends: np.ndarray) -> list[list[int | None]]:
    """Return ends (pairs, P, 2) as `thousandths` does, (pairs, 2 P); one beside 0 stays on its side of it."""
    least = np.where(np.abs(ends) < 1e-3, np.sign(ends) * 1e-3, ends)
    return thousandths(least.reshape(len(ends), -1))


def difference_study(
    methods: Methods,
    metrics: Sequence[str],
    most: int | None,
    measures: "Mapping[Path, Measures]" = MappingProxyType({}),
) -> Differences | None:
    """Take the methods that have runs of the same folds apart by the parts of their episodes.

    Args:
        methods: The best first.
        metrics: Of the study; the first is taken, and accuracy, which alone means something where nothing is shown.
        most: Largest number of methods; see `comparable_methods`.
        measures: Of the runs by folder, for metrics beyond the counts.

    Returns:
        The differences, or None where there are fewer than two such methods.
    """
    compared, _ = comparable_methods(methods, most)
    if len(compared) < 2:
        return None
    try:
        check_same(compared)
    except FsbenchError:  # the comparison in pairs says why
        return None
    taken = list(dict.fromkeys([metrics[0], *(["accuracy"] if "accuracy" in metrics else [])]))
    return compute_differences(compared, taken, measures=measures)


def compute_differences(
    methods: Methods, metrics: Sequence[str], measures: "Mapping[Path, Measures]" = MappingProxyType({})
) -> Differences:
    """Compute the differences of methods with runs of the same folds in `metrics`, as `fsbench compare` does.

    A method without a score, for want of stored predictions say, has NaN. None is told apart before `judged`: since a
    reader looks for the largest, their p are corrected together with all others of the page.
    """
    labels, pairs = list(methods), list(combinations(methods, 2))
    place = {pair: number for number, pair in enumerate(pairs)}
    listed = _parts(methods)
    scores = {metric: np.full((len(labels), len(listed)), np.nan) for metric in metrics}
    ends = {metric: np.full((len(pairs), len(listed), 2), np.nan) for metric in metrics}
    found: dict[tuple[str, int, int], Estimate] = {}
    parts: list[Part] = []
    for i, (part, folds, select) in enumerate(listed):
        images = 0
        for metric, of_metric in differences(_statistics(methods, folds, select, metrics, measures), pairs).items():
            if part.name == ABSENT and not is_of_absent(metric):
                continue
            for item in of_metric:
                pair = place[item.method, item.other]
                scores[metric][[labels.index(item.method), labels.index(item.other)], i] = item.scores
                ends[metric][pair, i] = item.difference.low, item.difference.high
                found[metric, pair, i] = item.difference
                images = item.difference.queries
        parts.append(replace(part, images=images))
    bearings = {metric: np.full((len(pairs), len(listed)), int(Bearing.NONE)) for metric in metrics}
    return Differences(labels, parts, scores, ends, bearings, found)


def _bearing(difference: Estimate, corrected: float) -> Bearing:
    if is_too_few(difference):
        return Bearing.FEW
    if not difference.has_interval:
        return Bearing.NONE
    if difference.scope is Scope.THESE_SUPPORTS:
        return Bearing.APART_HERE if corrected < ALPHA else Bearing.EVEN_HERE
    return Bearing.APART if corrected < ALPHA else Bearing.EVEN


def _parts(methods: Methods) -> list[tuple[Part, list[int], Selector]]:
    """List the parts that have pairs in all their folds, with these folds and what selects their rows.

    A kind with a single part is left out, as are folds whose mean is not taken: the whole test has the same lines.
    """
    first = next(iter(methods.values()))
    folds = sorted(first)
    complete = len(folds) == int(first[folds[0]].header.folds)
    wholes = [("mean" if len(folds) > 1 else str(folds[0]), folds)] if complete else [(str(f), [f]) for f in folds]
    found: list[tuple[Part, list[int], Selector]] = []

    def add(kind: str, name: str, fold: str, numbers: list[int], select: Selector) -> None:
        rows = [_ways(first[number]) if select is None else select(first[number]) for number in numbers]
        pairs = [int(chosen.sum()) for chosen in rows]
        if all(pairs):
            found.append((Part(kind, name, fold, sum(pairs)), numbers, select))

    for number in folds:
        for name in pairs_by_class(first[number].episodes, first[number].header):
            add("class", name, str(number), [number], _class_selector(name))
    if first[folds[0]].protocol.has_masks:
        for fold, numbers in wholes:
            for name in SIZES:
                add("size", name, fold, numbers, _size_selector(name))
            add("presence", SHOWN, fold, numbers, _present_ways)
            add("presence", ABSENT, fold, numbers, _size_selector(ABSENT))
        for number in folds if complete else ():
            add("fold", str(number), str(number), [number], None)
    kinds = [part.kind for part, *_ in found]
    return [item for item in found if kinds.count(item[0].kind) > 1]


def _class_selector(name: str) -> Selector:
    return lambda record: pairs_by_class(record.episodes, record.header)[name]


def _size_selector(name: str) -> Selector:
    return lambda record: pairs_by_size(record.episodes)[name]


def _ways(record: Record) -> np.ndarray:
    return np.asarray((record.episodes["slot"] > 0).to_numpy())


def _present_ways(record: Record) -> np.ndarray:
    return np.asarray(_ways(record) & record.episodes["present"].to_numpy())


def _statistics(
    methods: Methods,
    folds: Sequence[int],
    select: Selector,
    metrics: Sequence[str],
    measures: "Mapping[Path, Measures]",
) -> dict[str, list[ScoreStatistics]]:
    """Return each method's sums of a part, by fold."""
    first = next(iter(methods.values()))
    keeps = {fold: None if select is None else select(first[fold]) for fold in folds}
    return {
        label: [
            whole_statistics(runs[fold], runs[fold].episodes, measures.get(runs[fold].path)).only(metrics)
            if (keep := keeps[fold]) is None
            else subset_statistics(runs[fold], runs[fold].episodes, keep, measures.get(runs[fold].path)).only(metrics)
            for fold in folds
        ]
        for label, runs in methods.items()
    }
