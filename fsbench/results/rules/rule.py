"""Scores of finished runs by other rules than their own test's: each rule is a row beside that of the test.

Void policy, presence from the mask, sizes of objects and averages follow from counts. Another size of comparison
follows from stored predictions and the truth. Episodes and masks stay those of the run. Nothing is written.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsbench.base.errors import FsbenchError, SettingsError, user_message
from fsbench.protocols.counting import PixelCounting
from fsbench.protocols.reading import segmentation_of
from fsbench.records.grouping import Trainings, runs_by_fold, variants
from fsbench.records.record import Record
from fsbench.results.rows.parts import ways
from fsbench.results.rows.row import ResultRow
from fsbench.results.rows.scoring import method_lines, score_part, trained_on, with_estimate
from fsbench.scores.averages import AVERAGES
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.trainings import Trained, differences

if TYPE_CHECKING:
    import polars as pl

OWN = ""
"""The rule of rows that follow the run's own test."""

Recount = Callable[..., "pl.DataFrame"]
"""A run, a resolution, and a view where it is another test's -> the count table there, as
`fsbench.results.measuring.recount.recount` makes it; FsbenchError where there is none."""


def _own_counts(record: Record) -> "pl.DataFrame":
    return record.episodes


@dataclass(frozen=True)
class Rule:
    """Counting rules and metrics by which runs are scored.

    Attributes:
        label: the rules in words; `OWN` for the rules of the runs' own test.
        metrics: names of the scores.
        word: name of the choice that differs from the test's, such as "void" or "size"; "" for the test's own rules.
        counts: returns the count table of a run; raises FsbenchError if the run does not have what is needed.
        counting: how counts become scores; None for the counting of the run's protocol.
        keep: takes a count table and returns (rows,) bool, the (episode, way) rows to score; None to score all rows.
    """

    label: str
    metrics: Sequence[str]
    word: str = ""
    counts: Callable[[Record], "pl.DataFrame"] = _own_counts
    counting: PixelCounting | None = None
    keep: "Callable[[pl.DataFrame], np.ndarray] | None" = None

    def statistics(self, record: Record, frame: "pl.DataFrame", kept: np.ndarray) -> ScoreStatistics:
        """Return the sums over the rows `kept` (rows,) bool of a run's count table, from which its scores follow."""
        counting = self.counting or pixel_counting(record)
        metrics = [one for one in (*record.protocol.metrics, *AVERAGES) if one.name in self.metrics]
        if self.keep is None:
            return counting.statistics(frame, record.header, metrics)
        return counting.subset_statistics(frame, kept, record.header, metrics)


@dataclass
class RuleScores:
    """Scores of one test's runs by several counting rules.

    Attributes:
        rows: the scores, each with its `rule`; a score that cannot be computed has no value.
        differences: scores minus those of the same method by its test's own rules, if requested.
        missing: sentences on rules that cannot be applied, with the reason.
    """

    rows: list[ResultRow] = field(default_factory=list)
    differences: list[ResultRow] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def pixel_counting(record: Record) -> PixelCounting:
    """Return the counting rules of a segmentation run's protocol."""
    counting = segmentation_of(record.header).counting
    assert isinstance(counting, PixelCounting)
    return counting


def score_by_rules(
    records: list[Record],
    test: str,
    rules: Callable[[Sequence[Record]], Iterable[Rule]],
    with_differences: bool = False,
) -> RuleScores:
    """Score the methods of one test by several counting rules: each fold, and the mean if all folds are there.

    Args:
        records: finished runs with stored masks, on the same episodes.
        test: name of the test.
        rules: takes a method's runs, of one fold or of all, and returns the rules; those of the test come first.
        with_differences: whether to also compute differences to the score by the test's own rules, for whole tests.
    """
    found = RuleScores()
    for label, members in variants(records).items():
        for row, folds in method_lines(test, label, runs_by_fold(members)):
            rules_of_runs = rules([record for trainings in folds for record in trainings])
            _score_line(row, folds, rules_of_runs, with_differences, found)
    return found


def _score_line(
    row: ResultRow, folds: Sequence[Trainings], rules: Iterable[Rule], with_differences: bool, found: RuleScores
) -> None:
    """Add the rows of a method's trainings of one fold, or of all, to what was found."""
    own: Trained | None = None
    for rule in rules:
        part = replace(row, rule=rule.label)
        try:
            frames = {record.path: rule.counts(record) for trainings in folds for record in trainings}
            keep = {path: (rule.keep or ways)(frame) for path, frame in frames.items()}
            first = [trainings[0].path for trainings in folds]
            kept = [keep[path] for path in first]
            if rule.label != OWN and not all(keep.any() for keep in kept):
                raise SettingsError("the run has no such episodes")
        except FsbenchError as error:
            if rule.label == OWN:  # the run is damaged
                raise
            found.missing.append(f"{rule.label} cannot be computed: {user_message(error)}")
            found.rows += score_part(part, None, rule.metrics, [], [])
            continue
        sums = _sums(rule, folds, frames, keep)
        scores = list(score_part(part, sums, rule.metrics, kept, [frames[path] for path in first]))
        found.rows += scores
        own = own or sums
        if with_differences and rule.label != OWN and rule.keep is None:
            found.differences += _differences(scores, own, sums)


def _sums(
    rule: Rule, folds: Sequence[Trainings], frames: "Mapping[Path, pl.DataFrame]", keep: Mapping[Path, np.ndarray]
) -> Trained:
    """Sum up a method's trainings by a rule, of the pairs that count in the table of each run."""
    return trained_on(folds, lambda _, record: rule.statistics(record, frames[record.path], keep[record.path]))


def _differences(scores: Sequence[ResultRow], own: Trained, other: Trained) -> list[ResultRow]:
    """Return scores by another rule less those by the own one, with the interval of the difference itself.

    Both are of the same weights.
    """
    moved = differences({"other": other, "own": own}, [("other", "own")], lambda *pair: True)
    return [
        with_estimate(replace(row, minus=row.method), moved[row.metric][0].difference)
        for row in scores
        if row.metric in moved
    ]
