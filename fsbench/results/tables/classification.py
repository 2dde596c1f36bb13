"""A block of classification: a row for each method, one score, and chance for an answer that needs no model."""

from collections.abc import Sequence

from fsbench.records.card import Cards, choices_on_test
from fsbench.records.description import notes, title
from fsbench.records.grouping import variants
from fsbench.records.record import Record
from fsbench.results.tables.below_trivial import CHANCE
from fsbench.results.tables.blocks import Block, Row, Subset, TableOptions
from fsbench.results.tables.published.match import PublishedComparison, match_published
from fsbench.results.tables.published.scores import PublishedScore
from fsbench.results.tables.subsets import pairs_by_class
from fsbench.scores.classification import accuracy_statistics
from fsbench.scores.estimate import Estimate, estimates
from fsbench.scores.statistics import ScoreStatistics


def classification_block(
    records: list[Record], options: TableOptions, published: Sequence[PublishedScore] = ()
) -> Block:
    """Build the block of runs that may be compared; metrics other than accuracy do not exist."""
    rows: list[Row] = []
    comparisons: list[PublishedComparison] = []
    stated, cards = Cards(options.backbone_data), {}
    for label, (record,) in variants(records).items():
        cards[label] = stated.run_card(record)
        row = _run_row(label, record, options.by_class)
        rows.append(row)
        comparisons += match_published(label, row.fold, row.scores, [record], published)
    if options.trivial:
        chance = 100 / records[0].header.way
        rows.append(Row(CHANCE, "all", {"accuracy": Estimate(chance)}))
    metrics = records[0].protocol.default_metrics
    lines = [*notes(records), *choices_on_test(cards)]
    return Block(title(records), rows, lines, metrics, comparisons, cards=cards)


def _run_row(label: str, record: Record, by_class: bool) -> Row:
    cost = record.run.cost
    return Row(
        method=label,
        fold="all",
        scores=_scores(accuracy_statistics(record.episodes)),
        by_class=_classes(record) if by_class else {},
        trainable=cost.trainable_parameters,
        episodes_per_second=cost.episodes_per_second,
        peak_mib=cost.peak_mib,
        run=record.path.name,
    )


def _scores(statistics: ScoreStatistics) -> dict[str, Estimate]:
    return {"accuracy": estimates([statistics.only(["accuracy"])])["accuracy"]}


def _classes(record: Record) -> dict[str, Subset]:
    """Score the episodes of each class; a class that no episode drew has no score."""
    subsets = {}
    for name, keep in pairs_by_class(record.episodes, record.header).items():
        number = int(keep.sum())  # a class is in an episode once
        scores = _scores(accuracy_statistics(record.episodes, keep)) if number else {}
        subsets[name] = Subset(number, number, scores)
    return subsets
