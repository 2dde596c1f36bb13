"""The words by which counts become a figure, and the figures of a run under any of them.

A `Rule` is a test as far as finished predictions can follow it. The sums and scores are those of tables and of
`fsbench table --protocol`; here they are taken of a part of the rows, too, and of counts at other sizes.

Shapes: n (episode, way) pairs, E episodes, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite, nan
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.header import Header
from fsbench.protocols.segmentation import Absent, Segmentation, Void, segmentation_of
from fsbench.results.why.scores import POOLED, SCORES
from fsbench.scores.confusion import VOID_RULES
from fsbench.scores.count_table import CountTable
from fsbench.scores.estimate import Estimate, MetricParts, conclude, estimates
from fsbench.scores.metric import Metric, Sum
from fsbench.scores.rows import RowSum
from fsbench.scores.scores import MeanIoU
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl


class Part(Protocol):
    """A part of a test's rows.

    Attributes:
        drops_classes: it leaves out whole classes, and all rows of those that are left.
    """

    drops_classes: ClassVar[bool]

    def keeps(self, table: CountTable) -> np.ndarray:
        """Return which pairs (n,) bool are kept."""

    def classes(self, numbers: Sequence[int]) -> list[int]:
        """Return the classes that are left of those of a test."""


class Answers(Protocol):
    """The name of answers that a run is not counted by: of another draw of the supports, or of a further run.

    Attributes:
        has_own_rows: they are about other episodes than the run's.
    """

    has_own_rows: ClassVar[bool]


@dataclass(frozen=True)
class Rule:
    """Words of a test by which counts become a figure.

    Attributes:
        compared_at: size at which pixels were counted, a word of the atlas.
        void: rule for void pixels.
        absent: rule for a class that no episode shows.
        score: a key of `SCORES`.
        folds: whose figures are averaged.
        parts: all of them restrict the rows.
        answers: which answers are counted: None for the run's own, or a key of `FoldCounts.others`.
    """

    compared_at: str
    void: Void
    absent: Absent
    score: str = POOLED
    folds: tuple[int, ...] = (0,)
    parts: tuple[Part, ...] = ()
    answers: Answers | None = None

    @property
    def metric(self) -> Metric:
        """The score, with its rule for classes that no episode shows."""
        metric = SCORES[self.score]
        if isinstance(metric, MeanIoU) and self.absent == "nan":
            return replace(metric, absent_is_nan=True)
        return metric


@dataclass(frozen=True, eq=False)
class FoldCounts:
    """The counts of a run on one fold.

    Attributes:
        header: of its manifest.
        frame: its count table, with the columns of `fsbench.records.counts.with_images`.
        resized: word of `compared_at` -> the counts at that size, of the same rows.
        others: name of other answers -> their counts, of the same rows or of others.
    """

    header: Header
    frame: "pl.DataFrame"
    resized: Mapping[str, "pl.DataFrame"] = field(default_factory=dict)
    others: Mapping[Answers, "FoldCounts"] = field(default_factory=dict)

    @property
    def fold(self) -> int:
        """Number of the fold."""
        return int(self.header.fold)

    @cached_property
    def protocol(self) -> Segmentation:
        """The test."""
        return segmentation_of(self.header)

    @cached_property
    def rule(self) -> Rule:
        """The words of the run's own test."""
        protocol = self.protocol
        return Rule(protocol.geometry.compared_at, protocol.void, protocol.absent, folds=(self.fold,))

    @cached_property
    def _tables(self) -> dict[tuple[str, Void], CountTable]:
        """Count tables by size and rule for void pixels, as they are asked for."""
        return {}

    @cached_property
    def _kept(self) -> dict[Part, np.ndarray]:
        """Which pairs (n,) bool each part keeps, as it is asked for."""
        return {}

    def table(self, rule: Rule) -> CountTable:
        """Return the count table of a rule by the own answers, of all rows and classes."""
        key = rule.compared_at, rule.void
        if key not in self._tables:
            frame = self._frame(rule)
            ways = (frame["slot"] > 0).to_numpy()
            shown = sorted({*self.header.class_ids, *frame["class_id"].unique().to_list()} - {0})
            self._tables[key] = CountTable(frame, shown, ways, VOID_RULES[rule.void], True, self.header)
        return self._tables[key]

    def _frame(self, rule: Rule) -> "pl.DataFrame":
        return self.frame if rule.compared_at == self.rule.compared_at else self.resized[rule.compared_at]

    def statistics(self, rule: Rule) -> ScoreStatistics:
        """Sum the rows of a rule; rows that it leaves out stay, without values, so that any two rules are paired."""
        if rule.answers is not None:
            return self.others[rule.answers].statistics(replace(rule, answers=None))
        table, own = self.table(rule), self.table(self.rule)
        classes, numbers = self._classes(rule), table.column("class_id")
        place_of = np.full(max([*numbers.tolist(), *classes]) + 1, -1)
        place_of[classes] = np.arange(len(classes))
        place = np.where(self._kept_rows(rule), place_of[numbers], -1)
        metric, whole = rule.metric, self._kept_episodes(place)
        sums = {one.name: _restricted(table.sum(one), place, len(classes), whole) for one in metric.sums}
        return ScoreStatistics(own.pair_rows, sums, (metric,), True, own.episode_rows)

    def _kept_rows(self, rule: Rule) -> np.ndarray:
        """Return which pairs (n,) bool a rule keeps."""
        own = self.table(self.rule)
        kept = np.ones(int(own.pairs.sum()), dtype=bool)
        for part in rule.parts:
            if part not in self._kept:
                self._kept[part] = part.keeps(own)
            kept &= self._kept[part]
        return kept

    def _kept_episodes(self, place: np.ndarray) -> np.ndarray:
        """Return which episodes (E,) bool have a pair with a place."""
        episodes = self.table(self.rule).episode_rows
        assert episodes is not None
        whole = np.zeros(len(episodes.rows), dtype=bool)
        whole[episodes.of_pair[place >= 0]] = True
        return whole

    def _classes(self, rule: Rule) -> list[int]:
        """Return the classes that the mean of a rule is over."""
        if rule.absent == "left_out":
            return sorted(set(self.table(rule).column("class_id")[self._kept_rows(rule)].tolist()))
        classes = list(self.header.class_ids)
        for part in rule.parts:
            classes = part.classes(classes)
        return classes

    def figure(self, rule: Rule) -> float:
        """Return the figure of a rule, from sums by class that rules share; that of `statistics`, in less time."""
        if rule.answers is not None:
            return self.others[rule.answers].figure(replace(rule, answers=None))
        metric = rule.metric
        by_class = [one for one in metric.sums if not self._of_episodes(rule, one)]
        left = [part for part in rule.parts if part.drops_classes]
        if len(by_class) < len(metric.sums) and left:  # sums of whole episodes do not part by class
            return self.statistics(rule).scores()[metric.name]
        shared = replace(rule, score="", folds=(), absent="zero", parts=tuple(p for p in rule.parts if p not in left))
        classes = self._classes(rule)
        places = [self._place[number] for number in classes]
        totals = {}
        for one in metric.sums:
            total = self._total(shared, one)
            totals[one.name] = total[:, places] if one in by_class else total
        return float(metric.compute(totals, totals)[0])

    def _of_episodes(self, rule: Rule, one: Sum) -> bool:
        values = self.table(rule).sum(one)
        assert isinstance(values, RowSum)
        return values.of_episodes

    def _total(self, rule: Rule, one: Sum) -> np.ndarray:
        """Return the total (1, C, ...) of a sum over all classes of the rows that a rule keeps."""
        key = rule, one.name
        if key not in self._totals:
            table, kept = self.table(rule), self._kept_rows(rule)
            place = np.where(kept, table.class_places, -1)
            values = _restricted(table.sum(one), place, len(table.class_ids), self._kept_episodes(place))
            self._totals[key] = values.total()
        return self._totals[key]

    @cached_property
    def _totals(self) -> dict[tuple[Rule, str], np.ndarray]:
        """Sums by rule, without what does not change them, and by name, as they are asked for."""
        return {}

    @cached_property
    def _place(self) -> dict[int, int]:
        """Place of each class in the count tables."""
        return {number: place for place, number in enumerate(self.table(self.rule).class_ids)}


def _restricted(values: object, place: np.ndarray, classes: int, whole: np.ndarray) -> RowSum:
    """Leave rows out of a sum, and place the others anew."""
    assert isinstance(values, RowSum)
    if values.of_episodes:
        return replace(values, values=values.values * whole[:, None])
    return replace(values, place=place, places=classes)


@dataclass(frozen=True, eq=False)
class RunCounts:
    """The counts of a run on one fold or several.

    Attributes:
        folds: one for each fold, by ascending number.
    """

    folds: Sequence[FoldCounts]

    def __post_init__(self) -> None:
        numbers = [one.fold for one in self.folds]
        if not numbers or sorted(set(numbers)) != numbers:
            raise SettingsError(f"found runs of the folds {numbers}; expected one of each fold, in order")

    @property
    def of_test(self) -> int:
        """Number of the folds that the test has."""
        return int(self.folds[0].header.folds)

    @cached_property
    def rule(self) -> Rule:
        """The words of the run's own test, over all its folds."""
        return replace(self.folds[0].rule, folds=tuple(one.fold for one in self.folds))

    @property
    def is_part(self) -> bool:
        """Whether folds of the test are missing."""
        return len(self.folds) < self.of_test

    @cached_property
    def _figures(self) -> dict[Rule, dict[int, float]]:
        """Figures of folds by rule, as they are asked for; no claim changes them."""
        return {}

    def _chosen(self, rule: Rule) -> list[FoldCounts]:
        return [one for one in self.folds if one.fold in rule.folds]

    def by_fold(self, rule: Rule) -> dict[int, float]:
        """Return the figure of each fold of a rule; NaN where it has none."""
        if rule not in self._figures:
            self._figures[rule] = {one.fold: one.figure(rule) for one in self._chosen(rule)}
        return self._figures[rule]

    def figure(self, rule: Rule) -> float:
        """Return the figure of a rule, the mean over its folds; NaN where there is none."""
        values = list(self.by_fold(rule).values())
        return float(np.mean(values)) if values and all(map(isfinite, values)) else nan

    def estimate(self, rule: Rule) -> Estimate:
        """Return the figure of a rule with its interval over images."""
        found = estimates([one.statistics(rule) for one in self._chosen(rule)])
        return found.get(rule.metric.name, Estimate(nan))

    def estimate_of_fold(self, fold: int) -> Estimate:
        """Return the run's own figure on a fold with its interval over images."""
        return self.estimate(replace(self.rule, folds=(fold,)))

    def effect(self, rule: Rule) -> Estimate:
        """Return the figure of a rule minus that of the run's own, on the same rows, with the paired interval.

        Where the folds or the rows differ there is no pair, and no interval.
        """
        if rule.folds != self.rule.folds or (rule.answers is not None and rule.answers.has_own_rows):
            return Estimate(self.figure(rule) - self.figure(self.rule))
        own, other = (
            MetricParts.from_statistics(each.metric, [one.statistics(each) for one in self.folds])
            for each in (self.rule, rule)
        )
        if not own.is_defined or not other.is_defined:
            return Estimate(nan)
        design = own.design
        return conclude(other.influences(design) - own.influences(design), design)
