"""Compare methods on the same episodes: paired differences of their finished runs (`fsbench compare`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import inf, isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.reading import metric_named
from fsbench.records.card import Cards, choices_on_test, differing_cards, ranking_groups
from fsbench.records.description import notes, title
from fsbench.records.record import Record
from fsbench.results.tables.comparable import Methods, check_same, find_methods, numbers_of
from fsbench.results.tables.layout import (
    ALPHA,
    amount,
    family_note,
    in_units,
    is_too_few,
    mark,
    probability,
    scope_notes,
    signed,
)
from fsbench.results.tables.rescoring.statistics import subset_statistics, whole_statistics
from fsbench.results.tables.subsets import ABSENT, SIZES, is_of_absent, pairs_by_class, pairs_by_size
from fsbench.scores.decisions import adjust, equivalent, indistinguishable, smallest_difference, times_larger
from fsbench.scores.estimate import Difference, Estimate, Scope, differences
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    from fsbench.results.tables.rescoring.measures import Measures

Measure = Callable[[Record], "Measures"]
"""Measures what scores beyond the counts need of a run; see `fsbench.results.tables.rescoring.measures`."""


@dataclass(frozen=True)
class SizeOfTest:
    """Differences that a test can find (statistics spec §8).

    Attributes:
        smallest: the smallest true difference that a test like this one finds in 80 of 100 cases.
        times: as many times as many query and support images find the wanted difference, in 80 of 100 cases.
        times_low, times_high: 95 % interval of that number.
    """

    smallest: float
    times: float
    times_low: float
    times_high: float


@dataclass(frozen=True)
class ComparisonLine:
    """One comparison.

    Attributes:
        fold: a number, or "mean".
        part: "all", a bin of object sizes or a class.
        difference: of the two methods, first minus second.
        corrected: p after Holm's correction over all comparisons that are printed together; NaN where there is no p.
        images: number of query images.
        episodes: number of episodes a fold that were used.
        size: what the test can find; of whole tests and scores in points alone, where there is an interval.
        equivalent: whether the two are equivalent within the margin that was asked for; None where none was, and of
            scores that are not in points.
    """

    fold: str
    part: str
    difference: Difference
    corrected: float
    images: int
    episodes: int
    size: SizeOfTest | None = None
    equivalent: bool | None = None

    @property
    def p(self) -> float:
        """p of this comparison alone; NaN where there is none."""
        return self.difference.difference.p

    @property
    def significant(self) -> bool:
        return self.corrected < ALPHA

    @property
    def is_tested(self) -> bool:
        """Whether there is a p."""
        return not isnan(self.p)

    @property
    def mark(self) -> str:
        """Mark of a difference that holds for these supports alone."""
        return mark(self.difference.difference)

    @property
    def words(self) -> str:
        """The p-values, or why there are none."""
        found = self.difference.difference
        if self.is_tested:
            return f"p {probability(found.p)}, corrected {probability(self.corrected)}"
        if found.scope is Scope.IDENTICAL:
            return "identical on these episodes"
        return f"too few images ({found.queries}) for an interval" if is_too_few(found) else "no test"


@dataclass(frozen=True)
class Asked:
    """Questions of a reader besides the differences themselves.

    Attributes:
        effect: difference in points that a larger test is to find.
        margin: differences up to so many points count as none; None where nobody says how many.
    """

    effect: float = 1.0
    margin: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("effect", self.effect), ("margin", self.margin)):
            if value is not None and not 0 < value < inf:
                raise SettingsError(f"{name} is {value:g}, expected a number of points above 0")


@dataclass(frozen=True)
class Comparison:
    """The tables of a comparison.

    Attributes:
        title: what the runs have in common.
        methods: labels, and the folders of their runs.
        tables: kind ("all", "fold", "size", "class") -> metric -> lines.
        asked: what was asked of them.
        alike: metric -> fold -> groups of methods that are not told apart, best first; of those alone that are ranked
            together, and of folds alone whose differences all bear the same.
        notes: what a reader must know.
        beside: corrected p of the further comparisons that were corrected along; NaN of one without a p.
    """

    title: str
    methods: dict[str, list[str]]
    tables: dict[str, dict[str, list[ComparisonLine]]]
    asked: Asked = Asked()
    alike: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    @property
    def comparisons(self) -> int:
        """Number of comparisons with a p, which are corrected together."""
        return count_tested(self.tables, self.beside)


def compare(
    folders: Sequence[Path],
    metrics: Sequence[str] | None = None,
    by: Sequence[str] = (),
    baseline: str | None = None,
    folds: Sequence[int] = (),
    refused: list[str] | None = None,
    measure: Measure | None = None,
    rank_all: bool = False,
    asked: Asked = Asked(),
) -> Comparison:
    """Compare every two methods whose runs are in `folders`, or each with `baseline`.

    Args:
        folders: of the runs.
        metrics: names of scores; None for those of the protocol.
        by: breakdowns: "fold", "size", "class".
        baseline: label of the only method that others are compared with.
        folds: to compare; all when empty.
        refused: takes messages about damaged runs, which are then left out.
        measure: for scores beyond the counts; a method whose runs lack such a score is left out of its tables, and a
            note says why.
        rank_all: whether methods of different cards are ranked together.
        asked: what is asked of the comparisons besides the differences.

    Raises:
        RecordError: the runs are not on the same episodes, or one is damaged and there is no `refused`.
        SettingsError: no two methods have one of the scores, or there are none to compare.
    """
    passed_over: list[str] = []
    found = find_methods(folders, folds, refused, passed_over)
    return compare_methods(found, metrics, by, baseline, measure, rank_all, asked, passed_over=passed_over)


def compare_methods(
    methods: Methods,
    metrics: Sequence[str] | None = None,
    by: Sequence[str] = (),
    baseline: str | None = None,
    measure: Measure | None = None,
    rank_all: bool = False,
    asked: Asked = Asked(),
    beside: Sequence[float] = (),
    passed_over: Sequence[str] = (),
) -> Comparison:
    """Compare methods whose records are read already; see `compare`.

    Args:
        beside: p of further comparisons that are printed on the same page; they are of the same family.
        passed_over: notes about runs that are not compared.
    """
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
    test = _PairedTest(methods, _pairs(list(methods), baseline), metrics, measures, asked)
    tables = {kind: test.table(scopes) for kind, scopes in _scopes(first, complete, by).items()}
    if not tables["all"]:
        known = ", ".join(protocol.metric_names)
        why = lacking[0] if lacking else f"expected scores of {protocol.name} that two have ({known})"
        raise SettingsError(f"no two methods have {' or '.join(metrics)}: {why}")
    for metric in [name for name in tables.get("size", {}) if not is_of_absent(name)]:
        tables["size"][metric] = [line for line in tables["size"][metric] if line.part != ABSENT]
    tables, corrected = correct(tables, metrics[0], beside)
    family = count_tested(tables, corrected)
    read = Cards()
    cards = {label: read.method_card(list(of.values())) for label, of in methods.items()}
    ranked = ranking_groups(cards, rank_all)
    return Comparison(
        title=title(records),
        methods={label: [str(of[fold].path) for fold in sorted(of)] for label, of in methods.items()},
        tables=tables,
        asked=asked,
        alike={metric: _groups(metric, lines, ranked) for metric, lines in tables["all"].items()}
        if baseline is None
        else {},
        notes=[
            *conclusions(tables, asked, family),
            *notes(records),
            *choices_on_test(cards),
            *differing_cards(cards),
            *lacking,
            *passed_over,
            *_explanations(tables, folds, complete, asked, family),
        ],
        beside=corrected,
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
    measures: Mapping[Path, "Measures"]
    asked: Asked

    def table(self, scopes: Sequence[_Scope]) -> dict[str, list[ComparisonLine]]:
        """Compute metric -> a line for each scope and pair, not yet corrected."""
        lines: dict[str, list[ComparisonLine]] = {metric: [] for metric in self.metrics}
        for scope in scopes:
            for metric, scope_lines in self._lines(scope).items():
                lines[metric] += scope_lines
        return {metric: of_metric for metric, of_metric in lines.items() if of_metric}

    def _lines(self, scope: _Scope) -> dict[str, list[ComparisonLine]]:
        """Compute metric -> a line for each pair; none where a fold of the scope has no rows."""
        first = next(iter(self.methods.values()))
        statistics: dict[str, list[ScoreStatistics]] = {}
        for label, records in self.methods.items():
            folds = scope.statistics(records, first, self.measures)
            if folds is None:
                return {}
            statistics[label] = [fold.only(self.metrics) for fold in folds]
        episodes = scope.episodes(first)
        return {
            metric: [
                ComparisonLine(
                    fold=scope.fold,
                    part=scope.part,
                    difference=item,
                    corrected=nan,
                    images=item.difference.queries,
                    episodes=episodes,
                    size=_size_of_test(item.difference, self.asked.effect) if scope.part == "all" and asks else None,
                    equivalent=None
                    if self.asked.margin is None or not asks
                    else item.difference.has_interval and equivalent(item.difference, self.asked.margin),
                )
                for item in found
            ]
            for metric, found in differences(statistics, self.pairs).items()
            for asks in [metric_named(metric).in_points]
        }


def _size_of_test(difference: Estimate, effect: float) -> SizeOfTest | None:
    if not difference.has_interval:
        return None
    times = times_larger(difference, effect)
    return SizeOfTest(smallest_difference(difference), times.value, times.low, times.high)


Tables = Mapping[str, Mapping[str, Sequence[ComparisonLine]]]
"""Kind of a table -> metric -> its lines."""


def correct(
    tables: Tables, main: str, beside: Sequence[float] = ()
) -> tuple[dict[str, dict[str, list[ComparisonLine]]], list[float]]:
    """Correct the p-values of all lines together, and those of comparisons `beside` them.

    The lines of `main` on the whole test have most of the weight.

    Returns:
        The tables with the corrected p of their lines, and the corrected p of the others.
    """
    every = [
        (kind, metric, line) for kind, of_kind in tables.items() for metric, lines in of_kind.items() for line in lines
    ]
    first = [(kind, metric) == ("all", main) for kind, metric, _ in every]
    corrected = adjust([*(line.p for *_, line in every), *beside], [*first, *[False] * len(beside)])
    found: dict[str, dict[str, list[ComparisonLine]]] = {
        kind: {metric: [] for metric in of} for kind, of in tables.items()
    }
    for (kind, metric, line), p in zip(every, corrected, strict=False):
        found[kind][metric].append(replace(line, corrected=p))
    return found, corrected[len(every) :]


def _groups(metric: str, lines: list[ComparisonLine], among: Mapping[str, int]) -> dict[str, list[list[str]]]:
    """Group the methods that are not told apart: fold -> groups, best first, each within one of `among`.

    A fold without a common scope (`common_scope`) has no groups.
    """
    groups = {}
    for fold in dict.fromkeys(line.fold for line in lines):
        of_fold = [line for line in lines if line.fold == fold]
        if common_scope(of_fold) is None:
            continue
        scores = scores_in(of_fold)
        different = {frozenset((x.difference.method, x.difference.other)) for x in of_fold if x.significant}
        ranked = sorted(scores, key=lambda label: scores[label], reverse=metric_named(metric).higher_is_better)
        parts = ([label for label in ranked if among[label] == part] for part in dict.fromkeys(map(among.get, ranked)))
        groups[fold] = [group for part in parts for group in indistinguishable(part, different)]
    return groups


def common_scope(lines: Sequence[ComparisonLine]) -> Scope | None:
    """Return what the differences of some lines hold for; None where that is not the same, or there is no test.

    Identical answers go with any others.
    """
    scopes = {line.difference.difference.scope for line in lines} - {Scope.IDENTICAL}
    if any(not line.is_tested for line in lines if line.difference.difference.scope is not Scope.IDENTICAL):
        return None
    return scopes.pop() if len(scopes) == 1 else None


def scores_in(lines: Sequence[ComparisonLine]) -> dict[str, float]:
    """Collect each method's score from lines of one fold and metric."""
    return {
        name: score
        for line in lines
        for name, score in zip((line.difference.method, line.difference.other), line.difference.scores, strict=True)
    }


def count_tested(tables: Tables, beside: Sequence[float] = ()) -> int:
    """Count the comparisons with a p, with those `beside` the tables."""
    lines = [line for of_kind in tables.values() for lines in of_kind.values() for line in lines]
    return sum(line.is_tested for line in lines) + sum(not isnan(p) for p in beside)


MOST_SENTENCES = 6
"""Number of comparisons up to which each has a sentence."""


def conclusions(tables: Tables, asked: Asked, family: int) -> list[str]:
    """Say in a sentence each what follows from the comparisons of the whole test, where these are few.

    Of many only those of the first metric have one; `family` is the number of comparisons that are corrected together.
    """
    tested = {metric: lines for metric, lines in tables["all"].items() if metric_named(metric).has_interval}
    lines = [(metric, line) for metric, of_metric in tested.items() for line in of_metric]
    if len(lines) > MOST_SENTENCES:
        lines = [(metric, line) for metric, line in lines if metric == next(iter(tested))]
    return [conclusion(metric, line, family, asked) for metric, line in lines] if len(lines) <= MOST_SENTENCES else []


def conclusion(metric: str, line: ComparisonLine, family: int, asked: Asked) -> str:
    """Say what follows from a comparison, and no more (statistics §10).

    Args:
        metric: compared score.
        line: the comparison.
        family: number of comparisons that are corrected together.
        asked: what was asked of it.
    """
    item, found = line.difference, line.difference.difference
    where = metric if line.fold == "mean" else f"{metric}, fold {line.fold}"
    pair = f"{item.method} and {item.other}"
    if found.scope is Scope.IDENTICAL:
        return f"{where}: {pair} are identical on these episodes"
    if is_too_few(found):
        return f"{where}: {pair}: too few images ({found.queries}) for an interval"
    if not found.has_interval:
        gap = f"{abs(found.value):.{_digits(metric)}f}"
        return (
            f"{where}: {pair} differ by {amount(gap, metric)}, whichever image is left out: nothing varies that an "
            "interval could follow from"
        )
    conditional = bool(mark(found))
    words = _verdict(metric, line, family, conditional)
    if line.equivalent or (line.equivalent is not None and not line.significant):
        words += f"; {'' if line.equivalent else 'not '}shown to be equivalent within ± {asked.margin:g} points"
    return f"{where}: {'with these supports ' * conditional}{words}"


def _verdict(metric: str, line: ComparisonLine, family: int, conditional: bool) -> str:
    item, found, digits = line.difference, line.difference.difference, _digits(metric)
    if line.significant:
        is_first = (found.value > 0) == metric_named(metric).higher_is_better
        better, other = (item.method, item.other) if is_first else (item.other, item.method)
        low, high = sorted((abs(found.low), abs(found.high)))
        last = amount(signed(high, digits).lstrip("+"), metric)
        ends = f"by {signed(low, digits).lstrip('+')} to {last} (95 %)"
        everywhere = "; other supports may reverse it" if conditional else ", whatever the images and supports"
        return f"{better} is better than {other} on these classes, {ends}{everywhere}"
    if found.p < ALPHA:
        return (
            f"the interval of {item.method} minus {item.other} leaves out 0, but among {family} comparisons that is no "
            "evidence"
        )
    most = f"{max(abs(found.low), abs(found.high)):.{digits}f}"
    most = most if metric_named(metric).in_points else amount(most, metric)
    return f"{item.method} and {item.other} are not told apart; a difference of up to {most} is possible"


def size_note(asked: Asked) -> str:
    """Explain what is said of the size of a test."""
    return (
        "finds: the smallest true difference that a test like this one finds in 80 of 100 cases; for "
        f"{asked.effect:g}: about so many times as many query and support images find one of {asked.effect:g} "
        "(--effect), with its 95 % interval; more episodes of the same images do not count"
    )


def _digits(metric: str) -> int:
    return metric_named(metric).digits()


def _explanations(tables: Tables, folds: list[int], complete: bool, asked: Asked, family: int) -> list[str]:
    """Explain the columns of the tables."""
    every = [line for of_kind in tables.values() for lines in of_kind.values() for line in lines]
    found = [line.difference.difference for line in every]
    metrics = dict.fromkeys(metric for of_kind in tables.values() for metric in of_kind)
    lines = [
        f"first − second: {in_units(metrics)}; all methods see the same episodes, so what is hard for all cancels",
        "[low, high]: 95 % interval of the difference: other query and support images of these classes, same weights",
    ]
    lines += scope_notes(found)
    lines += [family_note(family)] if family else []
    if asked.margin is not None:
        lines.append(
            f"within ± {asked.margin:g}: yes where the 90 % interval of the difference lies inside, each comparison by "
            "itself; elsewhere that is no sign of a difference"
        )
    others = [metric for metric in metrics if not metric_named(metric).in_points]
    if others:
        lines.append(f"sizes and margins are in points, so {', '.join(others)} has none")
    if any(line.size for line in every):
        lines.append(size_note(asked))
    lines.append("one training each: how much another training moves a score is in no interval, nor are other classes")
    if not complete and len(folds) > 1:
        lines.append(f"folds {numbers_of(folds)} only: no mean, which needs all")
    return lines
