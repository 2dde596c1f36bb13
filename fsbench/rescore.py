"""What another protocol's metric gives on a run's predictions, as far as the stored counts decide it.

Void policy, presence from the mask and the definitions of FB-IoU follow from counts. Another resolution does not, and
the episodes stay those that were run: a rescored figure is never one of the other protocol. Nothing is written.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fsbench.counts import VoidPolicy
from fsbench.errors import SettingsError
from fsbench.grouping import comparable, fold_of, notes, title, variants
from fsbench.layout import INTERVAL_NOTE, Sheet, figure
from fsbench.manifest import classifies
from fsbench.protocol import Protocol, load_protocol
from fsbench.records import Record
from fsbench.scores import SCORES, Sums
from fsbench.stats import Interval, differences, episode_sums, intervals

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
class Line:
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
    lines: list[Line]
    notes: list[str]
    metrics: tuple[str, ...]


def rescore(records: Iterable[Record], target: Protocol) -> list[Rescored]:
    """Figures of `records` under their own protocol's metric and under that of `target`."""
    groups = comparable(records)
    images = [record.path.name for group in groups for record in group if classifies(record.header)]
    if images:
        raise SettingsError(f"{images[0]} is a run of classification, which has one metric; expected runs with masks")
    return [_group(group, target) for group in groups]


def views(record: Record, target: Protocol) -> list[View]:
    """The run's own metric, that of `target`, and each choice by itself that counts can follow."""
    own = load_protocol(record.header["protocol"])
    reason = undefined(record, own, target)
    found = [View(f"own metric: {own.name} v{own.version}", own.void)]
    if own.name != target.name:
        label = f"metric of {target.name} v{target.version}, same episodes"
        found.append(View(label, target.void, undefined=reason))
    if reason and target.void != own.void:
        found.append(View(f"only void: {target.void}", target.void))
    if record.run["presence"] == "predicted":
        found.append(View(f"only presence: {target.presence}", own.void, from_mask=True))
    return found


def undefined(record: Record, own: Protocol, target: Protocol) -> str:
    """Why the counts of `record` do not give the metric of `target`; "" when they do."""
    way = record.header["way"]
    if target.ways == "one" and way > 1:
        return f"{target.name} knows one way, the run has {way}"
    if target.query_size != own.query_size:
        size = {"original": "the query's original size", "input": "the method's input size"}
        return (
            f"{target.name} counts pixels at {size[target.query_size]}, the run's counts are at "
            f"{size[own.query_size]}; evaluate again under {target.name}"
        )
    return ""


def presence_from_counts(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The count table with presence decided by the rule `any_pixel`, void pixels included, in slot 0 as in the ways."""
    import polars as pl

    return frame.with_columns(decided=pl.col("pred") + pl.col("pred_void") > 0)


def _group(records: list[Record], target: Protocol) -> Rescored:
    header = records[0].header
    metrics = MANY_WAYS if header["way"] > 1 else ONE_WAY
    lines: list[Line] = []
    for label, members in variants(records).items():
        ordered = sorted(members, key=fold_of)
        lines += [line for record in ordered for line in _lines(label, str(fold_of(record)), [record], target, metrics)]
        if len(ordered) == header["folds"] > 1:
            lines += _lines(label, "mean", ordered, target, metrics)
    reasons = dict.fromkeys(f"{line.figures}: not defined: {line.undefined}" for line in lines if line.undefined)
    return Rescored(title(records), lines, [*notes(records), *_warnings(records, target), *reasons], metrics)


def _lines(method: str, fold: str, records: list[Record], target: Protocol, metrics: tuple[str, ...]) -> list[Line]:
    own, *others = views(records[0], target)
    parts = [_sums(record, own) for record in records]
    lines = [Line(method, fold, own.label, _chosen(intervals(parts), metrics))]
    for view in others:
        if view.undefined:
            lines.append(Line(method, fold, view.label, undefined=view.undefined))
            continue
        changed = [_sums(record, view) for record in records]
        scores, moved = intervals(changed), differences(parts, changed)
        lines.append(Line(method, fold, view.label, _chosen(scores, metrics), _chosen(moved, metrics)))
    return lines


def _sums(record: Record, view: View) -> Sums:
    frame = presence_from_counts(record.episodes) if view.from_mask else record.episodes
    return episode_sums(frame, record.header["class_ids"], view.void)


def _chosen(scores: dict[str, Interval], metrics: tuple[str, ...]) -> dict[str, Interval]:
    return {name: scores[name] for name in metrics if name in scores}


def _warnings(records: list[Record], target: Protocol) -> list[str]:
    header = records[0].header
    own = load_protocol(header["protocol"])
    found = []
    if own.name != target.name:
        found.append(
            f"same episodes: drawn and predicted under {own.name}; {target.name}'s own figure needs a run under it"
        )
    if header["empty"] and not target.empty_queries:
        found.append(f"queries may be empty here; under {target.name} every query shows the class")
    if header["version"] != own.version:
        found.append(f"made under {own.name} v{header['version']}; the own metric here is that of v{own.version}")
    if header["way"] > 1:
        found.append(f"FB-IoU-any: {SCORES['FB-IoU-any']}")
    return found


def lay_out(item: Rescored) -> Sheet:
    """A line per run and view; the difference to the run's own figures beside each figure."""
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
