"""A block of segmentation: a row for each method and fold, and a mean only where every fold is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsbench.protocols.counting import FurtherAnswer
from fsbench.protocols.reading import metric_named
from fsbench.records.card import Cards, choices_on_test
from fsbench.records.description import notes, title
from fsbench.records.grouping import fold_of, variants
from fsbench.records.record import Record
from fsbench.results.tables.blocks import Block, Row, Subset, TableOptions
from fsbench.results.tables.published.match import PublishedComparison, match_published
from fsbench.results.tables.published.scores import PublishedScore
from fsbench.results.tables.rescoring.statistics import subset_statistics, whole_statistics
from fsbench.results.tables.subsets import ABSENT, is_of_absent, pairs_by_class, pairs_by_size
from fsbench.scores.estimate import Estimate, estimates
from fsbench.scores.scores import DEFAULT
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.trivial import ANSWERS, trivial_answers

if TYPE_CHECKING:
    import polars as pl

    from fsbench.results.tables.rescoring.measures import Measures


def segmentation_block(records: list[Record], options: TableOptions, published: Sequence[PublishedScore] = ()) -> Block:
    """Build the block of runs that may be compared, with reported scores beside the rows they belong to."""
    rows: list[Row] = []
    comparisons: list[PublishedComparison] = []
    answer_notes: list[str] = []
    statistics = _Statistics(options)
    stated, cards = Cards(options.backbone_data), {}
    labelled = variants(records)
    for label, members in labelled.items():
        cards[label] = stated.method_card(members)
        folds = sorted(members, key=fold_of)
        of_method = [(_run_row(label, record, options, statistics), [record]) for record in folds]
        if len(folds) == records[0].header.folds > 1:
            of_method.append((_mean_row(label, [row for row, _ in of_method], folds, options, statistics), members))
        for row, row_records in of_method:
            rows.append(row)
            comparisons += match_published(label, row.fold, row.scores, row_records, published)
        further, lines = _further_rows(label, folds, options, statistics)
        rows += further
        cards |= dict.fromkeys((row.method for row in further), cards[label])
        answer_notes += lines
    if options.trivial:
        rows += _trivial_rows(records, options, statistics)
    chosen = choices_on_test({label: cards[label] for label in labelled})
    lines = [*notes(records), *chosen, *answer_notes, *_metric_notes(options.metrics), *statistics.missing]
    headers = [record.header for record in sorted(records, key=fold_of)]
    classes = {str(header.fold): len(header.class_ids) + len(header.dropped_classes) for header in headers}
    return Block(
        title(records),
        rows,
        lines,
        options.metrics,
        comparisons,
        folds=headers[0].folds,
        classes=classes,
        cards=cards,
    )


def _metric_notes(metrics: Sequence[str]) -> list[str]:
    """Explain uncommon scores."""
    return [_meaning(name) for name in metrics if name not in DEFAULT]


def _meaning(name: str) -> str:
    metric = metric_named(name)
    return f"{name}: {metric.meaning}{'; its root is shown' if metric.is_squared_error else ''}"


@dataclass(frozen=True)
class SubsetStatistics:
    """Statistics of some (episode, way) pairs of one record, with the number of the pairs and of their episodes."""

    pairs: int
    episodes: int
    statistics: ScoreStatistics


@dataclass(frozen=True)
class RunStatistics:
    """Statistics of one record (one fold): of whole episodes, and of its pairs by size and by class."""

    whole: ScoreStatistics
    sizes: dict[str, SubsetStatistics]
    classes: dict[str, SubsetStatistics]


class _Statistics:
    """Statistics of records and of the trivial answers on them, each computed when a row first needs it."""

    def __init__(self, options: TableOptions):
        self.measure = options.measure
        self.missing: list[str] = []
        """Notes on scores that were asked for and that a run does not have."""
        self._computed: dict[tuple[Path, str], tuple[TableOptions, RunStatistics]] = {}

    def get(self, record: Record, answer: str, options: TableOptions) -> RunStatistics:
        """Return the statistics of the record's predictions, or of another `answer` unless that is ""; those of
        sizes and classes are there at least where `options` asks for them."""
        key = (record.path, answer)
        known, statistics = self._computed.get(key, (None, None))
        if known is None or statistics is None or known.by_class < options.by_class or known.by_size < options.by_size:
            frame = _counts(record, answer)
            measures = None if answer or self.measure is None else self.measure(record)
            if measures is not None:
                self.missing += measures.notes(record)
            statistics = run_statistics(frame, record, options, measures)
            self._computed[key] = options, statistics
        return statistics


def _counts(record: Record, answer: str) -> "pl.DataFrame":
    """Return the counts of a run's predictions, or of a trivial answer or one of the protocol's on its episodes."""
    if not answer:
        return record.episodes
    if answer in ANSWERS:
        return trivial_answers(record.episodes)[answer]
    return _further_answers(record)[answer].frame


def _further_answers(record: Record) -> Mapping[str, FurtherAnswer]:
    """Return the answers that the protocol derives from a run's counts."""
    if not record.protocol.counting.calibrated:
        return {}
    return record.protocol.counting.further_answers(record.episodes, record.every_episode, record.header)


def run_statistics(
    frame: "pl.DataFrame", record: Record, options: TableOptions, measures: "Measures | None" = None
) -> RunStatistics:
    """Sum a count table on the episodes of `record`, and what was measured of it beyond counts."""

    def subset(keep: np.ndarray) -> SubsetStatistics:
        episodes = len(np.unique(frame["episode"].to_numpy()[keep]))
        return SubsetStatistics(int(keep.sum()), episodes, subset_statistics(record, frame, keep, measures))

    sizes = pairs_by_size(frame) if options.by_size else {}
    classes = pairs_by_class(frame, record.header) if options.by_class else {}
    return RunStatistics(
        whole_statistics(record, frame, measures),
        {name: subset(keep) for name, keep in sizes.items()},
        {name: subset(keep) for name, keep in classes.items()},
    )


def _run_row(label: str, record: Record, options: TableOptions, statistics: _Statistics) -> Row:
    """Return the row of one run, with its costs."""
    row, cost = _scored_row(label, str(fold_of(record)), [record], options, statistics), record.run.cost
    row.trainable = cost.trainable_parameters
    row.episodes_per_second = cost.episodes_per_second
    row.peak_mib = cost.peak_mib
    row.run = record.path.name
    row.sees_supports = record.run.sees_supports
    return row


def _mean_row(
    label: str, rows: Sequence[Row], records: list[Record], options: TableOptions, statistics: _Statistics
) -> Row:
    """Return the row of the mean over all folds; its classes are those of the folds' own `rows`."""
    row = _scored_row(label, "mean", records, replace(options, by_class=False), statistics)
    for of_fold in rows:
        row.by_class |= of_fold.by_class
    row.sees_supports = all(record.run.sees_supports for record in records)
    return row


def _further_rows(
    label: str, folds: list[Record], options: TableOptions, statistics: _Statistics
) -> tuple[list[Row], list[str]]:
    """Return rows of the answers that the protocol derives from a method's runs, one of each fold, and their notes."""
    by_fold = [_further_answers(record) for record in folds]
    rows: list[Row] = []
    notes: list[str] = []
    for name in by_fold[0]:
        if not all(name in answers for answers in by_fold):
            continue
        own = f"{label}, {name}"
        of_answer = [_scored_row(own, str(fold_of(one)), [one], options, statistics, name) for one in folds]
        if len(folds) == folds[0].header.folds > 1:
            mean = _scored_row(own, "mean", folds, replace(options, by_class=False), statistics, name)
            for row in of_answer:
                mean.by_class |= row.by_class
            of_answer.append(mean)
        for row in of_answer:
            row.sees_supports = all(record.run.sees_supports for record in folds)
        rows += of_answer
        notes += [
            f"{own}{f', fold {fold_of(one)}' if one.header.folds > 1 else ''}: {answers[name].words}"
            for one, answers in zip(folds, by_fold, strict=True)
        ]
    return rows, notes


def _trivial_rows(records: Sequence[Record], options: TableOptions, statistics: _Statistics) -> list[Row]:
    """Return rows of the answers that need no model, for every fold."""
    one_per_fold = {fold_of(record): record for record in reversed(records)}  # the first of each fold
    return [
        _scored_row(answer, str(fold), [record], options, statistics, answer)
        for answer in ANSWERS
        for fold, record in sorted(one_per_fold.items())
    ]


def _scored_row(
    label: str,
    fold: str,
    records: list[Record],
    options: TableOptions,
    statistics: _Statistics,
    answer: str = "",
) -> Row:
    """Return the row of `records` (one fold, or all for a mean)."""
    return _row(label, fold, [statistics.get(record, answer, options) for record in records], options)


def _row(label: str, name: str, folds: Sequence[RunStatistics], options: TableOptions) -> Row:
    """Compute the scores of a row, of the mean over `folds` where there are several.

    Args:
        label: of the method.
        name: of the fold, or of the mean.
        folds: statistics of each fold.
        options: what the table is asked for.
    """
    row = Row(label, name, _score_intervals([fold.whole for fold in folds], options.metrics))
    for name in folds[0].sizes if options.by_size else ():
        subsets = [fold.sizes[name] for fold in folds]
        complete = all(subset.pairs for subset in subsets)  # no mean of some folds only
        row.by_size[name] = _score_subset(subsets if complete else [], options.metrics)
    if row.by_size:
        absent = row.by_size[ABSENT]
        absent.scores = {name: score for name, score in absent.scores.items() if is_of_absent(name)}
    for fold in folds:
        for name, subset in fold.classes.items():
            row.by_class[name] = _score_subset([subset] if subset.pairs else [], options.metrics)
    return row


def _score_subset(folds: Sequence[SubsetStatistics], metrics: Sequence[str]) -> Subset:
    scores = _score_intervals([fold.statistics for fold in folds], metrics) if folds else {}
    return Subset(sum(fold.pairs for fold in folds), sum(fold.episodes for fold in folds), scores)


def _score_intervals(folds: Sequence[ScoreStatistics], metrics: Sequence[str]) -> dict[str, Estimate]:
    scores = estimates([fold.only(metrics) for fold in folds])
    return {
        name: scores[name].root() if metric_named(name).is_squared_error else scores[name]
        for name in metrics
        if name in scores
    }
