"""Score finished runs by another protocol's metric, as far as the stored counts decide it (`fsbench rescore`).

Void policy, presence from the mask and the definitions of FB-IoU follow from counts. Another resolution does not, and
the episodes stay those that were run: a rescored figure is never one of the other protocol. Nothing is written.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fsbench.data.dataset import VoidPolicy
from fsbench.episodes.protocol import Protocol, load_protocol
from fsbench.errors import SettingsError
from fsbench.metrics.bootstrap import Interval, differences, intervals
from fsbench.metrics.count_table import episode_statistics
from fsbench.metrics.scores import METRICS, ScoreStatistics
from fsbench.records.description import notes, title
from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.records.schema import largest_way
from fsbench.tables.layout import INTERVAL_NOTE, Sheet, figure

if TYPE_CHECKING:
    import polars as pl

MANY_WAYS = ("mIoU", "FB-IoU", "FB-IoU-any", "accuracy")
ONE_WAY = ("mIoU", "FB-IoU", "accuracy")
"""Scores that are shown; with one way both definitions of FB-IoU are the same."""


@dataclass(frozen=True)
class View:
    """A way to score a record.

    Attributes:
        label: what the figures are.
        void: what void pixels count as.
        from_mask: a way is present iff some pixel is predicted as it, whatever the method decided.
        undefined: why there are no figures; "" where there are.
    """

    label: str
    void: VoidPolicy
    from_mask: bool = False
    undefined: str = ""


@dataclass
class RescoreLine:
    """Figures of one run (or the mean over all folds) under one view; `difference`, in points, is to the run's own."""

    method: str
    fold: str
    figures: str
    scores: dict[str, Interval] = field(default_factory=dict)
    difference: dict[str, Interval] = field(default_factory=dict)
    undefined: str = ""


@dataclass
class Rescored:
    """Lines of runs that may be compared, and what a reader must know."""

    title: str
    lines: list[RescoreLine]
    notes: list[str]
    metrics: tuple[str, ...]


def rescore(records: Iterable[Record], target: Protocol) -> list[Rescored]:
    """Score `records` under their own protocol's metric and under that of `target`.

    Raises SettingsError for runs without masks.
    """
    groups = comparable(records)
    without_masks = [record.path.name for group in groups for record in group if not record.task.has_masks]
    if without_masks:
        raise SettingsError(
            f"{without_masks[0]} is a run of classification, which has one metric; expected runs with masks"
        )
    return [_group(group, target) for group in groups]


def views(record: Record, target: Protocol) -> list[View]:
    """List the run's own metric, that of `target`, and each choice by itself that counts can follow."""
    own = load_protocol(record.header["protocol"])
    reason = undefined(record, own, target)
    choices = [View(f"own metric: {own.name} v{own.version}", own.void)]
    if own.name != target.name:
        label = f"metric of {target.name} v{target.version}, same episodes"
        choices.append(View(label, target.void, undefined=reason))
    if reason and target.void != own.void:
        choices.append(View(f"only void: {target.void}", target.void))
    if record.run["presence"] == "predicted":
        choices.append(View(f"only presence: {target.presence}", own.void, from_mask=True))
    return choices


def undefined(record: Record, own: Protocol, target: Protocol) -> str:
    """Say why the counts of `record` do not give the metric of `target`; "" when they do."""
    way = largest_way(record.header)
    if target.ways == "one" and way > 1:
        return f"{target.name} knows one way, the run has up to {way}"
    if target.query_size != own.query_size:
        size = {"original": "the query's original size", "input": "the method's input size"}
        return (
            f"{target.name} counts pixels at {size[target.query_size]}, the run's counts are at "
            f"{size[own.query_size]}; evaluate again under {target.name}"
        )
    return ""


def presence_from_counts(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Decide presence in a count table by the rule `any_pixel`, void pixels included, in slot 0 as in the ways."""
    # spared until it is needed
    import polars as pl

    return frame.with_columns(decided=pl.col("pred") + pl.col("pred_void") > 0)


def _group(records: list[Record], target: Protocol) -> Rescored:
    header = records[0].header
    metrics = MANY_WAYS if largest_way(header) > 1 else ONE_WAY
    lines: list[RescoreLine] = []
    for label, members in variants(records).items():
        ordered = sorted(members, key=fold_of)
        lines += [line for record in ordered for line in _lines(label, str(fold_of(record)), [record], target, metrics)]
        if len(ordered) == header["folds"] > 1:
            lines += _lines(label, "mean", ordered, target, metrics)
    reasons = dict.fromkeys(f"{line.figures}: not defined: {line.undefined}" for line in lines if line.undefined)
    return Rescored(title(records), lines, [*notes(records), *_warnings(records, target), *reasons], metrics)


def _lines(
    method: str, fold: str, records: list[Record], target: Protocol, metrics: tuple[str, ...]
) -> list[RescoreLine]:
    own, *others = views(records[0], target)
    parts = [_sums(record, own) for record in records]
    lines = [RescoreLine(method, fold, own.label, _chosen(intervals(parts), metrics))]
    for view in others:
        if view.undefined:
            lines.append(RescoreLine(method, fold, view.label, undefined=view.undefined))
            continue
        changed = [_sums(record, view) for record in records]
        scores, moved = intervals(changed), differences(parts, changed)
        lines.append(RescoreLine(method, fold, view.label, _chosen(scores, metrics), _chosen(moved, metrics)))
    return lines


def _sums(record: Record, view: View) -> ScoreStatistics:
    frame = presence_from_counts(record.episodes) if view.from_mask else record.episodes
    return episode_statistics(frame, record.header["class_ids"], view.void)


def _chosen(scores: dict[str, Interval], metrics: tuple[str, ...]) -> dict[str, Interval]:
    return {name: scores[name] for name in metrics if name in scores}


def _warnings(records: list[Record], target: Protocol) -> list[str]:
    header = records[0].header
    own = load_protocol(header["protocol"])
    notes = []
    if own.name != target.name:
        notes.append(
            f"same episodes: drawn and predicted under {own.name}; {target.name}'s own figure needs a run under it"
        )
    if header["empty"] and not target.empty_queries:
        notes.append(f"queries may be empty here; under {target.name} every query shows the class")
    if header["version"] != own.version:
        notes.append(f"made under {own.name} v{header['version']}; the own metric here is that of v{own.version}")
    if largest_way(header) > 1:
        notes.append(f"FB-IoU-any: {METRICS['FB-IoU-any'].meaning}")
    return notes


def to_sheet(item: Rescored) -> Sheet:
    """Lay out a line per run and view; the difference to the run's own figures stands beside each figure."""
    head = ["method", "fold", "figures"]
    for metric in item.metrics:
        head += [metric, "difference"]
    grid = [head]
    for line in item.lines:
        cells = [line.method, line.fold, line.figures]
        for metric in item.metrics:
            cells += [figure(line.scores.get(metric), metric), _signed(line.difference.get(metric))]
        grid.append(cells)
    difference = "difference: to the run's own figure in points, with the interval of the difference itself"
    return Sheet(
        item.title, [("", grid)], [*item.notes, difference, INTERVAL_NOTE.format("bootstrap over query images")]
    )


def _signed(moved: Interval | None) -> str:
    return f"{moved.value:+.2f} [{moved.low:+.2f}, {moved.high:+.2f}]" if moved else ""
