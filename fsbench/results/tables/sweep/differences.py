"""Paired differences of curves: between a method's points, and between methods at one number.

Two points are compared where they ask the same queries; what is hard for both then cancels. Intervals and tests are
those of all differences (statistics §2 to §5).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from math import nan
from typing import Literal

from fsbench.records.counts import TRUTH
from fsbench.records.grouping import fold_of
from fsbench.records.record import Record
from fsbench.scores.decisions import adjust
from fsbench.scores.estimate import Estimate, differences
from fsbench.scores.statistics import ScoreStatistics

Kind = Literal["along", "between"]


@dataclass(frozen=True)
class Sample:
    """A method at one number of an axis, or that part of its runs.

    Attributes:
        method: its label.
        number: of shots, ways, pixels, percent or objects.
        records: its runs, by ascending fold.
        statistics: of each run or its part.
        part: the part of the runs' queries; None for all of them.
    """

    method: str
    number: float
    records: tuple[Record, ...]
    statistics: list[ScoreStatistics]
    part: float | None = None


@dataclass(frozen=True)
class PointDifference:
    """The score of one point of a curve minus that of another, mean over folds.

    Attributes:
        kind: "along" one method's curve, or "between" two methods at one number.
        metric: name of the score.
        method, number: the point.
        other, other_number: the point that it is compared with.
        difference: in points, with the interval of the difference itself.
        corrected: p after Holm's correction over all differences that are printed together; NaN where there is no p.
        is_whole: whether the points are whole tests.
    """

    kind: Kind
    metric: str
    method: str
    number: float
    other: str
    other_number: float
    difference: Estimate
    corrected: float
    is_whole: bool = True


def point_differences(samples: Sequence[Sample], metrics: Sequence[str]) -> list[PointDifference]:
    """Compare the points of curves that ask the same queries.

    Along a curve each point is compared with the one before it, and the last with the first; at each number every two
    methods are.

    Args:
        samples: the points, methods in the order in which differences are listed.
        metrics: names of scores; one that a point lacks is left out for its pairs.

    Returns:
        the differences by kind, then in the order of `metrics` and `samples`, not yet corrected (`correct`).
    """
    asking: dict[tuple[object, ...], list[Sample]] = {}
    for sample in samples:
        asking.setdefault(_queries(sample), []).append(sample)
    found: list[PointDifference] = []
    for alike in asking.values():
        by_name = {str(place): sample for place, sample in enumerate(alike)}
        kinds: dict[tuple[str, str], Kind] = dict.fromkeys(_along(by_name), "along")
        kinds |= dict.fromkeys(_between(by_name), "between")
        if kinds:
            statistics = {name: [fold.only(metrics) for fold in one.statistics] for name, one in by_name.items()}
            is_whole = all(one.part is None for one in alike)
            for metric, of_metric in differences(statistics, list(kinds)).items():
                for each in of_metric:
                    first, second = by_name[each.method], by_name[each.other]
                    ends = (first.method, first.number, second.method, second.number)
                    kind = kinds[each.method, each.other]
                    found.append(PointDifference(kind, metric, *ends, each.difference, nan, is_whole))
    methods = list(dict.fromkeys(sample.method for sample in samples))
    ordered = [line for method in methods for line in found if (line.kind, line.method) == ("along", method)]
    ordered += sorted((line for line in found if line.kind == "between"), key=lambda line: line.number)
    return [
        line
        for kind in ("along", "between")
        for metric in metrics
        for line in ordered
        if (line.kind, line.metric) == (kind, metric)
    ]


def _queries(sample: Sample) -> tuple[object, ...]:
    """Return what is equal of two samples whose queries are the same, and their truth where that has one size."""
    parts: list[object] = [sample.part]
    for record in sample.records:
        protocol, rows = record.protocol, record.episodes
        truth = () if protocol.view.counts_at_input_size else tuple(rows[name].to_numpy().tobytes() for name in TRUTH)
        questions = tuple(protocol.draw.first_shots(episode, 0) for episode in record.manifest.episodes)
        parts.append((fold_of(record), record.header.dataset, questions, truth))
    return tuple(parts)


def _along(samples: dict[str, Sample]) -> list[tuple[str, str]]:
    pairs = []
    for method in dict.fromkeys(sample.method for sample in samples.values()):
        own = [name for name, sample in samples.items() if sample.method == method]
        own.sort(key=lambda name: samples[name].number)
        pairs += [(after, before) for before, after in pairwise(own)]
        pairs += [(own[-1], own[0])] if len(own) > 2 else []
    return pairs


def _between(samples: dict[str, Sample]) -> list[tuple[str, str]]:
    return [pair for pair in combinations(samples, 2) if samples[pair[0]].number == samples[pair[1]].number]


def correct(tables: Sequence[Sequence[PointDifference]], main: Sequence[str]) -> list[list[PointDifference]]:
    """Correct the p-values of all tables together.

    Args:
        tables: the differences of each.
        main: first metric of each, whose differences of whole tests have most of the weight.
    """
    every = [
        (line, line.metric == metric and line.is_whole) for of, metric in zip(tables, main, strict=True) for line in of
    ]
    corrected = iter(adjust([line.difference.p for line, _ in every], [first for _, first in every]))
    return [[replace(line, corrected=next(corrected)) for line in of] for of in tables]
