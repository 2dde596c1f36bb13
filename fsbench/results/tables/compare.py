"""Compare methods on the same episodes: paired differences of their finished runs (`fsbench compare`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.registry import metric_named
from fsbench.records.card import Cards, differing_cards, ranking_groups
from fsbench.records.description import notes, title
from fsbench.records.record import Record
from fsbench.results.tables.comparable import Methods, check_same, find_methods, numbers_of
from fsbench.results.tables.rescoring.statistics import subset_statistics, whole_statistics
from fsbench.results.tables.subsets import ABSENT, NOT_OF_ABSENT, SIZES, pairs_by_class, pairs_by_size
from fsbench.scores.bootstrap import LEVEL
from fsbench.scores.paired import (
    RESAMPLES,
    Difference,
    episodes_needed,
    holm,
    indistinguishable,
    paired_differences,
)
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    from fsbench.results.tables.rescoring.measures import Measures

Measure = Callable[[Record], "Measures"]
"""Measures what scores beyond the counts need of a run; see `fsbench.results.tables.rescoring.measures`."""


@dataclass(frozen=True)
class ComparisonLine:
    """One comparison.

    Attributes:
        fold: a number, or "mean".
        part: "all", a bin of object sizes or a class.
        difference: of the two methods, first minus second.
        corrected: p after Holm's correction over the lines of the same table and metric.
        images: number of query images that were resampled.
        episodes: number of episodes a fold that were used.
        needed: number of episodes a fold that a difference of this size needs; see `episodes_needed`.
    """

    fold: str
    part: str
    difference: Difference
    corrected: float
    images: int
    episodes: int
    needed: int | None = None

    @property
    def significant(self) -> bool:
        return self.corrected < 1 - LEVEL


@dataclass(frozen=True)
class Comparison:
    """The tables of a comparison.

    Attributes:
        title: what the runs have in common.
        methods: labels, and the folders of their runs.
        tables: kind ("all", "fold", "size", "class") -> metric -> lines.
        alike: metric -> fold -> groups of methods that are not told apart, best first; of those alone that are ranked
            together.
        notes: what a reader must know.
    """

    title: str
    methods: dict[str, list[str]]
    tables: dict[str, dict[str, list[ComparisonLine]]]
    alike: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def compare(
    folders: Sequence[Path],
    metrics: Sequence[str] | None = None,
    by: Sequence[str] = (),
    baseline: str | None = None,
    folds: Sequence[int] = (),
    resamples: int = RESAMPLES,
    refused: list[str] | None = None,
    measure: Measure | None = None,
    rank_all: bool = False,
) -> Comparison:
    """Compare every two methods whose runs are in `folders`, or each with `baseline`.

    Args:
        folders: of the runs.
        metrics: names of scores; None for those of the protocol.
        by: breakdowns: "fold", "size", "class".
        baseline: label of the only method that others are compared with.
        folds: to compare; all when empty.
        resamples: of the bootstrap and of the swap test.
        refused: takes messages about damaged runs, which are then left out.
        measure: for scores beyond the counts; a method whose runs lack such a score is left out of its tables, and a
            note says why.
        rank_all: whether methods of different cards are ranked together.

    Raises:
        RecordError: the runs are not on the same episodes, or one is damaged and there is no `refused`.
        SettingsError: no two methods have one of the scores, or there are none to compare.
    """
    return compare_methods(find_methods(folders, folds, refused), metrics, by, baseline, resamples, measure, rank_all)


def compare_methods(
    methods: Methods,
    metrics: Sequence[str] | None = None,
    by: Sequence[str] = (),
    baseline: str | None = None,
    resamples: int = RESAMPLES,
    measure: Measure | None = None,
    rank_all: bool = False,
) -> Comparison:
    """Compare methods whose records are read already; see `compare`."""
    check_same(methods)
    first = next(iter(methods.values()))
    folds = sorted(first)
    header, protocol = first[folds[0]].header, first[folds[0]].protocol
    metrics = protocol.default_metrics if metrics is None else [metric_named(name).name for name in metrics]
    protocol.check_breakdowns(by)
    complete = len(folds) == header.folds > 1
    records = [record for of_method in methods.values() for record in of_method.values()]
    measures = (
        {record.path: measure(record) for record in records} if measure is not None and protocol.has_masks else {}
    )
    lacking = [note for record in records if record.path in measures for note in measures[record.path].notes(record)]
    test = _PairedTest(methods, _pairs(list(methods), baseline), metrics, resamples, measures)
    tables = {kind: test.table(scopes) for kind, scopes in _scopes(first, complete, by).items()}
    if not tables["all"]:
        known = ", ".join(protocol.metric_names)
        why = lacking[0] if lacking else f"expected scores of {protocol.name} that two have ({known})"
        raise SettingsError(f"no two methods have {' or '.join(metrics)}: {why}")
    for metric in tables.get("size", {}).keys() & set(NOT_OF_ABSENT):
        tables["size"][metric] = [line for line in tables["size"][metric] if line.part != ABSENT]
    read = Cards()
    cards = {label: read.method_card(list(of.values())) for label, of in methods.items()}
    ranked = ranking_groups(cards, rank_all)
    return Comparison(
        title=title(records),
        methods={label: [str(of[fold].path) for fold in sorted(of)] for label, of in methods.items()},
        tables=tables,
        alike={metric: _groups(metric, lines, ranked) for metric, lines in tables["all"].items()}
        if baseline is None
        else {},
        notes=[
            *notes(records),
            *differing_cards(cards),
            *lacking,
            *_explanations(folds, complete, resamples, protocol.resampled),
            *_too_few_resamples(tables, resamples),
        ],
    )


@dataclass(frozen=True)
class _Scope:
    """The part of the runs that a line of a table is about.

    Attributes:
        fold, part: as in `ComparisonLine`.
        folds: numbers of the folds whose mean is compared.
        select: chooses rows (rows,) bool by the first method's record, the same for all methods; None for all rows.
    """

    fold: str
    part: str
    folds: Sequence[int]
    select: Callable[[Record], np.ndarray] | None = None

    def statistics(
        self, records: Mapping[int, Record], first: Mapping[int, Record], measures: Mapping[Path, "Measures"]
    ) -> list[ScoreStatistics] | None:
        """Sum a method's part of each fold, with what was measured of its runs; None where a fold has no rows."""
        statistics = []
        for fold in self.folds:
            record = records[fold]
            measured = measures.get(record.path)
            if self.select is None:
                statistics.append(whole_statistics(record, record.episodes, measured))
                continue
            keep = self.select(first[fold])
            if not keep.any():
                return None
            statistics.append(subset_statistics(record, record.episodes, keep, measured))
        return statistics

    def episodes(self, first: Mapping[int, Record]) -> int:
        """Count the episodes of the part: the mean over the folds."""
        numbers = [first[fold].episodes["episode"].to_numpy() for fold in self.folds]
        if self.select is not None:
            numbers = [of_fold[self.select(first[fold])] for of_fold, fold in zip(numbers, self.folds, strict=True)]
        return round(np.mean([len(np.unique(of_fold)) for of_fold in numbers]))


def _scopes(first: Mapping[int, Record], complete: bool, by: Sequence[str]) -> dict[str, list[_Scope]]:
    """List the lines of every kind of table: of the mean over folds where all are there, else of single folds."""
    folds = sorted(first)
    single = [_Scope(str(fold), "all", [fold]) for fold in folds]
    scopes = {"all": [_Scope("mean", "all", folds)] if complete else single}
    if "fold" in by and complete:
        scopes["fold"] = single
    if "size" in by:
        scopes["size"] = [
            _Scope(scope.fold, name, scope.folds, _size_selector(name))
            for scope in scopes["all"]
            for name in (*SIZES, ABSENT)
        ]
    if "class" in by:
        scopes["class"] = [
            _Scope(str(fold), name, [fold], _class_selector(name))
            for fold in folds
            for name in pairs_by_class(first[fold].episodes, first[fold].header)
        ]
    return scopes


def _size_selector(name: str) -> Callable[[Record], np.ndarray]:
    return lambda record: pairs_by_size(record.episodes)[name]


def _class_selector(name: str) -> Callable[[Record], np.ndarray]:
    return lambda record: pairs_by_class(record.episodes, record.header)[name]


def _pairs(labels: list[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return list(combinations(labels, 2))
    if baseline not in labels:
        raise SettingsError(f"no method '{baseline}' to compare with{known_names(baseline, labels)}")
    return [(label, baseline) for label in labels if label != baseline]


@dataclass(frozen=True)
class _PairedTest:
    """Methods that saw the same episodes, and which pairs of them are tested on which scores.

    `measures` are those of their runs, by folder.
    """

    methods: Methods
    pairs: list[tuple[str, str]]
    metrics: Sequence[str]
    resamples: int
    measures: Mapping[Path, "Measures"]

    def table(self, scopes: Sequence[_Scope]) -> dict[str, list[ComparisonLine]]:
        """Compute metric -> a line for each scope and pair; p-values are corrected over the lines of a metric."""
        lines: dict[str, list[ComparisonLine]] = {metric: [] for metric in self.metrics}
        for scope in scopes:
            for metric, scope_lines in self._lines(scope).items():
                lines[metric] += scope_lines
        return {metric: _correct(of_metric) for metric, of_metric in lines.items() if of_metric}

    def _lines(self, scope: _Scope) -> dict[str, list[ComparisonLine]]:
        """Compute metric -> a line for each pair; none where a fold of the scope has no rows."""
        first = next(iter(self.methods.values()))
        statistics: dict[str, list[ScoreStatistics]] = {}
        for label, records in self.methods.items():
            folds = scope.statistics(records, first, self.measures)
            if folds is None:
                return {}
            statistics[label] = [fold.only(self.metrics) for fold in folds]
        images = sum(fold.clusters for fold in next(iter(statistics.values())))
        episodes = scope.episodes(first)
        return {
            metric: [
                ComparisonLine(
                    fold=scope.fold,
                    part=scope.part,
                    difference=item,
                    corrected=1.0,
                    images=images,
                    episodes=episodes,
                    needed=episodes_needed(item.difference.value, item.error, episodes)
                    if scope.part == "all"
                    else None,
                )
                for item in differences
            ]
            for metric, differences in paired_differences(statistics, self.pairs, self.resamples).items()
        }


def _correct(lines: list[ComparisonLine]) -> list[ComparisonLine]:
    """Correct the p-values of the lines by Holm's method."""
    adjusted = holm([line.difference.p for line in lines])
    return [replace(line, corrected=p) for line, p in zip(lines, adjusted, strict=True)]


def _groups(metric: str, lines: list[ComparisonLine], among: Mapping[str, int]) -> dict[str, list[list[str]]]:
    """Group the methods that are not told apart: fold -> groups, best first, each within one of `among`."""
    groups = {}
    for fold in dict.fromkeys(line.fold for line in lines):
        of_fold = [line for line in lines if line.fold == fold]
        scores = scores_in(of_fold)
        different = {frozenset((x.difference.method, x.difference.other)) for x in of_fold if x.significant}
        ranked = sorted(scores, key=lambda label: scores[label], reverse=metric_named(metric).higher_is_better)
        parts = ([label for label in ranked if among[label] == part] for part in dict.fromkeys(map(among.get, ranked)))
        groups[fold] = [group for part in parts for group in indistinguishable(part, different)]
    return groups


def scores_in(lines: list[ComparisonLine]) -> dict[str, float]:
    """Collect each method's score from lines of one fold and metric."""
    return {
        name: score
        for line in lines
        for name, score in zip((line.difference.method, line.difference.other), line.difference.scores, strict=True)
    }


def _too_few_resamples(tables: dict[str, dict[str, list[ComparisonLine]]], resamples: int) -> list[str]:
    """Warn where no line can be significant: p is never below 1 / (resamples + 1), and a correction multiplies it."""
    lines = max((len(lines) for metrics in tables.values() for lines in metrics.values()), default=0)
    least = lines / (resamples + 1)
    if least < 1 - LEVEL:
        return []
    enough = ceil(lines / (1 - LEVEL))
    return [
        f"{lines} lines in a table are too many for {resamples:,} resamples: no corrected p there can be below "
        f"{min(least, 1):.3f}, whatever differs; give --resamples {enough} or more, or fewer lines with --baseline"
    ]


def _explanations(folds: list[int], complete: bool, resamples: int, units: str) -> list[str]:
    """Explain the columns of the tables; `units` are what resamples draw."""
    lines = [
        "first − second: in points; all methods see the same episodes, so what is hard for all cancels",
        f"[low, high]: 95 % interval of the difference itself, {resamples:,} resamples of whole {units}",
        f"p: two-sided, from swapping the two methods' answers to each of the {units}; corrected: Holm over the lines "
        "of that table; * where it is below 0.05",
        "episodes needed for this difference, a fold: so many show it, if it is the true one, in 80 of 100 experiments "
        "at the level of 5 %; used · (2.802 · standard error / difference)², while new episodes bring new query images",
        "one training each: how much another training's seed moves a score is not in these intervals",
    ]
    if not complete and len(folds) > 1:
        lines.append(f"folds {numbers_of(folds)} only: no mean, which needs all")
    return lines
