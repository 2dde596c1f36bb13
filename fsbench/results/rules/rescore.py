"""Score finished runs by another protocol's metric, or another choice of one (`fsbench table --protocol`).

A rescored figure is never one of the other protocol, whose episodes are others.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import FsbenchError, RecordError, SettingsError, user_message
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import metric_named, segmentation_of
from fsbench.protocols.view import View
from fsbench.records.description import all_notes
from fsbench.records.grouping import comparable, names_of_tests
from fsbench.records.record import Record
from fsbench.records.tables import largest_way
from fsbench.results.measuring.recount import ORIGINAL, input_resolution
from fsbench.results.rows.parts import pairs_between
from fsbench.results.rows.row import ResultRow, rows_frame
from fsbench.results.rules.rule import OWN, Recount, Rule, RuleScores, pixel_counting, score_by_rules
from fsbench.results.sheets.legend import in_units
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Sheet, Table, score_cell

if TYPE_CHECKING:
    import polars as pl

AT_INPUT = -1
"""Stands for the side of the images that a run's method saw."""


@dataclass(frozen=True)
class Choices:
    """Single counting rules by which runs are scored again, one at a time.

    Attributes:
        void: name of the rule for void pixels to score by; None to keep the test's rule.
        resolution: size at which pixels are counted: `fsbench.results.measuring.recount.ORIGINAL` for each query's own
            size, or the side of a square in pixels; None to keep the test's size.
        sizes: range [lower, upper), from 0 to 1, of object sizes: only (episode, way) pairs whose object covers such a
            share of the query are scored; None to score all pairs.
    """

    void: str | None = None
    resolution: int | None = None
    sizes: tuple[float, float] | None = None


@dataclass
class Rescored:
    """Runs of one test scored by several counting rules, with notes.

    Attributes:
        title: data set, ways, shots and protocol of the runs in words.
        own: name of the metric of the runs' own protocol, in words.
        ruled: the scores by each rule, and their differences from the scores by the test's own rules.
        notes: sentences on the runs, to print below the table.
        metrics: names of the scores.
    """

    title: str
    own: str
    ruled: RuleScores
    notes: list[str]
    metrics: tuple[str, ...]

    @property
    def rows(self) -> list[ResultRow]:
        """Result rows of all scores, then of all differences."""
        return [*self.ruled.rows, *self.ruled.differences]

    def as_data(self) -> dict[str, Any]:
        """Return everything as JSON values; rows have the columns `fsbench.results.rows.row.COLUMNS`."""
        return {"test": self.title, "rows": rows_frame(self.rows).to_dicts(), "notes": self.notes}


def rescore(records: Iterable[Record], target: Protocol | None, choices: Choices, recount: Recount) -> list[Rescored]:
    """Score runs by their own protocol's metric, by another protocol's metric, and by single other counting rules.

    Args:
        records: finished runs.
        target: another protocol; None to use only `choices`.
        choices: counting rules to score by, each by itself.
        recount: counts a run's stored predictions again at another size.

    Raises:
        SettingsError: a run has no stored masks.
    """
    groups = comparable(records)
    without_masks = [record.path.name for group in groups for record in group if not record.protocol.has_masks]
    if without_masks:
        raise SettingsError(
            f"{without_masks[0]} is a run of classification, which has one metric; expected runs with masks"
        )
    named = zip(groups, names_of_tests(groups), strict=True)
    return [_rescored(group, name, target, choices, recount) for group, name in named]


def _rescored(
    records: list[Record], test: str, target: Protocol | None, choices: Choices, recount: Recount
) -> Rescored:
    own, metrics = segmentation_of(records[0].header), records[0].protocol.default_metrics
    if largest_way(records[0].header) > 1:  # with one way it equals FB-IoU
        metrics = (*metrics[:-1], "FB-IoU-any", metrics[-1])

    def rules(runs: Sequence[Record]) -> Iterator[Rule]:
        return rescoring_rules(runs[0], metrics, target, choices, recount)

    ruled = score_by_rules(records, test, rules, with_differences=True)
    notes = [*all_notes(records), *_warnings(records, target, choices), *dict.fromkeys(ruled.missing)]
    if target is not None and undefined(records[0], own, target):
        label, size = _metric_label(target), _in_words(_resolution(target))
        scored = any(row.rule == label and not isnan(row.estimate.value) for row in ruled.rows)
        notes += [f"{label}: of stored masks, counted at {size}"] if scored else []
    return Rescored(test, f"own metric: {own.name} v{own.version}", ruled, notes, metrics)


def rescoring_rules(
    record: Record, metrics: Sequence[str], target: Protocol | None, choices: Choices, recount: Recount
) -> Iterator[Rule]:
    """Yield the counting rules to score a run by: its test's, another protocol's, and single changed choices.

    Args:
        record: the run.
        metrics: names of the scores.
        target: another protocol; None to use only `choices`.
        choices: counting rules to score by, each by itself.
        recount: counts the run's stored predictions again at another size.
    """
    counting = pixel_counting(record)
    yield Rule(OWN, metrics)
    if target is not None:
        yield from _rules_of_protocol(record, metrics, target, recount)
    if choices.void is not None:
        yield Rule(f"only void: {choices.void}", metrics, counting=replace(counting, void=choices.void))
    if choices.resolution is not None:
        side = choices.resolution
        yield Rule(
            f"only resolution: {_in_words(side)}", metrics, counts=partial(_recounted, side=side, recount=recount)
        )
    if choices.sizes is not None:
        low, high = choices.sizes
        label = f"only objects of {100 * low:g} to {100 * high:g} % of the query"
        yield Rule(label, metrics, keep=partial(pairs_between, lower=low, upper=high))


def _rules_of_protocol(record: Record, metrics: Sequence[str], target: Protocol, recount: Recount) -> Iterator[Rule]:
    """Yield the metric of another protocol, and each of its choices by itself that the run's counts can follow."""
    own, counting = segmentation_of(record.header), pixel_counting(record)
    theirs = target.counting
    reason = undefined(record, own, target)
    if own.name != target.name:
        label = _metric_label(target)
        other = replace(counting, void=theirs.void, absent=theirs.absent)
        if not reason:
            yield Rule(label, metrics, counting=other)
        elif _too_many_ways(record, target) or not _is_followed(own, target):
            yield Rule(label, metrics, counts=partial(_refused, reason=reason))
        else:
            side = _resolution(target)
            view = target.view if _truth_rule(target) != _truth_rule(own) else None
            counts = partial(_recounted, side=side, recount=recount, view=view, reason=reason)
            yield Rule(label, metrics, counts=counts, counting=other)
    if reason and theirs.void != counting.void:
        yield Rule(f"only void: {theirs.void}", metrics, counting=replace(counting, void=theirs.void))
    if record.run.presence == "predicted":
        yield Rule(f"only presence: {theirs.presence}", metrics, counts=presence_from_counts)


def _metric_label(target: Protocol) -> str:
    return f"metric of {target.name} v{target.version}, same episodes"


def _refused(record: Record, reason: str) -> "pl.DataFrame":
    raise RecordError(reason)


def _recounted(
    record: Record, side: int, recount: Recount, view: View | None = None, reason: str = ""
) -> "pl.DataFrame":
    """Count the stored predictions of a run again.

    Args:
        record: the run.
        side: the resolution, or `AT_INPUT`.
        recount: does it.
        view: whose rule brings the truth there; None for the run's own.
        reason: why the counts of the run do not do.
    """
    try:
        resolution = input_resolution(record) if side == AT_INPUT else side
        return recount(record, resolution, *([] if view is None else [view]))
    except FsbenchError as error:
        raise RecordError("; ".join(filter(None, [reason, f"stored predictions: {user_message(error)}"]))) from error


def _resolution(protocol: Protocol) -> int:
    """Return the resolution of a protocol's metrics as `Choices.resolution`, or `AT_INPUT`."""
    named = {"original": ORIGINAL, "input": AT_INPUT, "square": ORIGINAL, "there_and_back": ORIGINAL}
    return protocol.view.query_size if isinstance(protocol.view.query_size, int) else named[protocol.view.query_size]


def _is_followed(own: Protocol, target: Protocol) -> bool:
    """Return whether masks that were stored under one protocol can be counted where another counts.

    A truth that was coarse in between is not to be had again, and masks of images that were stretched lie in no
    letterbox.
    """
    letterboxed = target.view.truth_resize == "padded" and target.view.query_size not in ("square", "original")
    return target.view.frame == own.view.frame and own.view.query_size != "there_and_back" and not letterboxed


def _truth_rule(protocol: Protocol) -> str:
    """Return how the truth of a protocol is resized before it is counted; "pil" where it is not, or is padded."""
    sized = protocol.view.query_size in ("input", "there_and_back") and protocol.view.truth_resize != "padded"
    way_back = "there_and_back" if protocol.view.query_size == "there_and_back" else ""
    return f"{way_back}{protocol.view.truth_resize}" if sized else "pil"


def _in_words(resolution: int) -> str:
    words = {ORIGINAL: "the query's original size", AT_INPUT: "the method's input size"}
    return words.get(resolution, f"{resolution} x {resolution}")


def _too_many_ways(record: Record, target: Protocol) -> bool:
    return target.draw.ways == "one" and largest_way(record.header) > 1


def undefined(record: Record, own: Protocol, target: Protocol) -> str:
    """Return a reason why a run's counts do not give the metric of the protocol `target`; "" if they do."""
    if _too_many_ways(record, target):
        return f"{target.name} knows one way, the run has up to {largest_way(record.header)}"
    if target.draw.asks_base_classes != own.draw.asks_base_classes:
        asking, other = (target, own) if target.draw.asks_base_classes else (own, target)
        return f"{asking.name} asks for base classes, {other.name} does not; evaluate again under {target.name}"
    if target.view.query_size != own.view.query_size:
        theirs, ours = (_size_in_words(protocol) for protocol in (target, own))
        return (
            f"{target.name} counts pixels at {theirs}, the run's counts are at {ours}; evaluate again under "
            f"{target.name}"
        )
    if _truth_rule(target) != _truth_rule(own):
        return (
            f"{own.name} and {target.name} resize the truth by different rules before they count; evaluate again under "
            f"{target.name}"
        )
    if (target.view.frame, target.view.resize == "padded") != (own.view.frame, own.view.resize == "padded"):
        return f"{own.name} and {target.name} place masks on the query differently; evaluate again under {target.name}"
    return ""


def _size_in_words(protocol: Protocol) -> str:
    """Return the resolution of a protocol's metrics in words."""
    named = {
        "square": "the square of the query's longer side",
        "there_and_back": "the query's original size, the truth by way of the method's input size",
    }
    return named.get(str(protocol.view.query_size)) or _in_words(_resolution(protocol))


def presence_from_counts(record: Record) -> "pl.DataFrame":
    """Return a run's count table with presence decided from masks: a way is present if any pixel is predicted as it."""
    # spared until it is needed
    import polars as pl

    return record.episodes.with_columns(decided=pl.col("pred") + pl.col("pred_void") > 0)


def _warnings(records: list[Record], target: Protocol | None, choices: Choices) -> list[str]:
    header = records[0].header
    own = segmentation_of(header)
    notes = []
    if choices.sizes is not None:
        notes.append("objects of some sizes: only the queries that show them count; accuracy is of presence decisions")
    if target is not None and own.name != target.name:
        notes.append(
            f"the episodes were drawn and predicted under {own.name}; a score of {target.name} needs a run under "
            f"{target.name}"
        )
    if target is not None and header.empty and not target.draw.empty_queries:
        notes.append(f"queries may be empty here; under {target.name} every query shows the class")
    if header.version != own.version:
        notes.append(f"made under {own.name} v{header.version}; the own metric here follows v{own.version}")
    if largest_way(header) > 1:
        notes.append(f"FB-IoU-any: {metric_named('FB-IoU-any').meaning}")
    return notes


def to_sheet(item: Rescored) -> Sheet:
    """Lay out a table with a line for each run and counting rule, with the difference from the run's own score."""
    moves = {(row.method, row.fold, row.rule, row.metric): row.estimate for row in item.ruled.differences}
    scored: dict[tuple[str, str, str], dict[str, ResultRow]] = {}
    for row in item.ruled.rows:
        scored.setdefault((row.method, row.fold, row.rule), {})[row.metric] = row
    columns = [METHOD, Column("fold"), Column("figures")]
    for number, metric in enumerate(item.metrics):
        rank = len(item.metrics) - number if number else 0
        columns.append(Column(metric, Form.FIGURE, metric=metric, rank=rank))
        columns.append(Column("difference", Form.DIFFERENCE, metric=metric, rank=rank))
    lines = []
    for (method, fold, rule), scores in scored.items():
        cells = [Cell(method), Cell(fold), Cell(rule or item.own)]
        for metric in item.metrics:
            score, move = scores[metric].estimate, moves.get((method, fold, rule, metric))
            cells += [score_cell(None if isnan(score.value) else score), score_cell(move) if move else Cell("")]
        lines.append(Line(cells))
    difference = f"difference: minus the run's own figure, {in_units(item.metrics)}, 95 % interval of the difference"
    return Sheet(item.title, [Table(columns, lines)], notes=[*item.notes, difference])
