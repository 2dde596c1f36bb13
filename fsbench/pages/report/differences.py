"""Where two methods differ: their scores on the classes, object sizes, folds and queries with and without the class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import FsbenchError
from fsbench.pages.report.matrix import comparable_methods
from fsbench.records.record import Record
from fsbench.results.tables.comparable import Methods, check_same
from fsbench.results.tables.rescoring.statistics import subset_statistics, whole_statistics
from fsbench.results.tables.subsets import ABSENT, NOT_OF_ABSENT, SIZES, pairs_by_class, pairs_by_size
from fsbench.scores.bootstrap import LEVEL, RESAMPLES, resampled_together

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
    """

    kind: str
    name: str
    fold: str
    pairs: int


@dataclass(frozen=True)
class Differences:
    """Differences of M methods on P parts.

    Attributes:
        methods: Labels, the best first.
        parts: The parts.
        scores: Metric -> (M, P), NaN where a part has no such score.
        ends: Metric -> (pairs of methods, P, 2), the 95 % interval of first minus second, of each two in their order.
    """

    methods: list[str]
    parts: list[Part]
    scores: dict[str, np.ndarray]
    ends: dict[str, np.ndarray]

    @property
    def metrics(self) -> list[str]:
        return list(self.scores)

    def kinds(self) -> list[str]:
        """Return the kinds that have more than one part, in the order of `KINDS`."""
        numbers = [part.kind for part in self.parts]
        return [kind for kind in KINDS if numbers.count(kind) > 1]

    def lines(self, first: int, second: int, kind: str, metric: str) -> list[tuple[Part, float, float, float, float]]:
        """Return (part, the two scores, the ends of their difference) of two methods, the largest difference first."""
        swapped = first > second
        pair = list(combinations(range(len(self.methods)), 2)).index((min(first, second), max(first, second)))
        lines = []
        for i, part in enumerate(self.parts):
            a, b = self.scores[metric][[first, second], i].tolist()
            if part.kind == kind and not np.isnan(a - b):
                low, high = self.ends[metric][pair, i].tolist()
                lines.append((part, a, b, *((-high, -low) if swapped else (low, high))))
        return sorted(lines, key=lambda line: line[2] - line[1])

    def widest(self, first: int, second: int, kind: str, metric: str) -> float:
        """Return the end of these intervals that is farthest from zero, which bars span on either side; 1 for none."""
        return (
            max((abs(end) for line in self.lines(first, second, kind, metric) for end in line[3:]), default=0.0) or 1.0
        )

    def as_data(self) -> dict[str, Any]:
        """Return everything as the page's script takes it; scores in thousandths, None where there is none."""
        return {
            "methods": self.methods,
            "metrics": self.metrics,
            "parts": [[part.kind, part.name, part.fold, part.pairs] for part in self.parts],
            "scores": {metric: thousandths(values) for metric, values in self.scores.items()},
            "ends": {metric: thousandths(values.reshape(len(values), -1)) for metric, values in self.ends.items()},
        }


def thousandths(values: np.ndarray) -> list[list[int | None]]:
    """Return a table of numbers in thousandths, rounded, as a page's script takes it; None for NaN."""
    return [[None if np.isnan(value) else round(1000 * value) for value in line] for line in values.tolist()]


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
    methods: Methods,
    metrics: Sequence[str],
    resamples: int = RESAMPLES,
    measures: "Mapping[Path, Measures]" = MappingProxyType({}),
) -> Differences:
    """Compute the differences of methods with runs of the same folds in `metrics`.

    Resamples draw whole query images and are the same for all methods, as for `fsbench compare`. A method without a
    score, for want of stored predictions say, has NaN.
    """
    pairs = list(combinations(range(len(methods)), 2))
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    parts: list[Part] = []
    scores: dict[str, list[np.ndarray]] = {metric: [] for metric in metrics}
    ends: dict[str, list[np.ndarray]] = {metric: [] for metric in metrics}
    tail = 50 * (1 - LEVEL)
    for part, folds, select in _parts(methods):
        values, draws = _resample_scores(methods, folds, select, metrics, resamples, measures)
        parts.append(part)
        for metric in metrics:
            if metric not in values or (part.name == ABSENT and metric in NOT_OF_ABSENT):
                scores[metric].append(np.full(len(methods), np.nan))
                ends[metric].append(np.full((len(pairs), 2), np.nan))
                continue
            moved = draws[metric][first] - draws[metric][second]
            scores[metric].append(values[metric])
            ends[metric].append(np.percentile(moved, [tail, 100 - tail], -1).T)
    return Differences(
        list(methods),
        parts,
        {metric: np.stack(columns, 1) for metric, columns in scores.items()},
        {metric: np.stack(columns, 1) for metric, columns in ends.items()},
    )


def _parts(methods: Methods) -> list[tuple[Part, list[int], Selector]]:
    """List the parts that have pairs in all their folds, with these folds and what selects their rows."""
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
        for number in folds:
            add("fold", str(number), str(number), [number], None)
    return found


def _class_selector(name: str) -> Selector:
    return lambda record: pairs_by_class(record.episodes, record.header)[name]


def _size_selector(name: str) -> Selector:
    return lambda record: pairs_by_size(record.episodes)[name]


def _ways(record: Record) -> np.ndarray:
    return np.asarray((record.episodes["slot"] > 0).to_numpy())


def _present_ways(record: Record) -> np.ndarray:
    return np.asarray(_ways(record) & record.episodes["present"].to_numpy())


def _resample_scores(
    methods: Methods,
    folds: Sequence[int],
    select: Selector,
    metrics: Sequence[str],
    resamples: int,
    measures: "Mapping[Path, Measures]",
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return metric -> the methods' scores (M,) on a part, the mean over `folds`, and in each resample (M, R).

    NaN stands for a method without such a score; a metric that no method has is not among them.
    """
    first = next(iter(methods.values()))
    values, draws = [], []
    for seed, fold in enumerate(folds):
        records = [runs[fold] for runs in methods.values()]
        if select is None:
            statistics = [whole_statistics(r, r.episodes, measures.get(r.path)).only(metrics) for r in records]
        else:
            keep = select(first[fold])
            statistics = [subset_statistics(r, r.episodes, keep, measures.get(r.path)).only(metrics) for r in records]
        values.append([each.scores() for each in statistics])
        draws.append(resampled_together(statistics, resamples, seed))
    names = [metric for metric in metrics if all(any(metric in score for score in of_fold) for of_fold in values)]
    none = np.full(resamples, np.nan)
    return (
        {name: np.mean([[score.get(name, none)[0] for score in of_fold] for of_fold in values], 0) for name in names},
        {name: np.mean([[drawn.get(name, none) for drawn in of_fold] for of_fold in draws], 0) for name in names},
    )
