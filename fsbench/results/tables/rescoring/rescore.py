"""Score finished runs by another protocol's metric, or another choice of one (`fsbench table --protocol`).

Void policy, presence from the mask, sizes of objects and the definitions of FB-IoU follow from counts. Another
resolution follows from stored predictions and the truth. The episodes and the masks stay those of the run: a rescored
figure is never one of the other protocol. Nothing is written.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fsbench.base.errors import FsbenchError, SettingsError, user_message
from fsbench.protocols.counting import Absent, PixelCounting
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import metric_named, segmentation_of
from fsbench.protocols.view import View
from fsbench.records.description import all_notes, title
from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.records.tables import largest_way
from fsbench.results.tables.layout import Sheet, figure, in_units, interval_notes, moved
from fsbench.results.tables.rescoring.recount import ORIGINAL, input_resolution
from fsbench.results.tables.subsets import pairs_between
from fsbench.scores.estimate import Estimate, estimates, gains
from fsbench.scores.run_statistics import pair_statistics
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class RescoreView:
    """A way to score a record.

    Attributes:
        label: what the figures are.
        void: what void pixels count as.
        from_mask: a way is present iff some pixel is predicted as it, whatever the method decided.
        undefined: why the record's counts give no figures; "" where they do.
        resolution: at which stored predictions are counted again, see `Choices`; None for the record's counts.
        sizes: of objects, see `Choices`; None for all pairs.
        truth_view: whose rule brings the truth to `resolution`; None for the run's own.
        absent: rule for a class without an episode; None for the run's own.
    """

    label: str
    void: str
    from_mask: bool = False
    undefined: str = ""
    resolution: int | None = None
    sizes: tuple[float, float] | None = None
    truth_view: View | None = None
    absent: Absent | None = None


@dataclass(frozen=True)
class Choices:
    """Rules to score by, each by itself, beside another protocol's metric.

    Attributes:
        void: what void pixels count as.
        resolution: `fsbench.results.tables.rescoring.recount.ORIGINAL`, or the side of a square.
        sizes: pairs whose object takes this share of the query alone, [lower, upper) from 0 to 1.
    """

    void: str | None = None
    resolution: int | None = None
    sizes: tuple[float, float] | None = None


AT_INPUT = -1
"""Stands for the side of the images that a run's method saw."""

Recount = Callable[..., "pl.DataFrame"]
"""A run, a resolution, and a view where it is another test's -> the count table there (`recount` beside this file);
FsbenchError where there is none."""


@dataclass
class RescoreLine:
    """Figures of one run (or the mean over all folds) under one view; `difference`, in points, is to the run's own."""

    method: str
    fold: str
    figures: str
    scores: dict[str, Estimate] = field(default_factory=dict)
    difference: dict[str, Estimate] = field(default_factory=dict)
    undefined: str = ""


@dataclass
class Rescored:
    """Lines of runs that may be compared, and what a reader must know."""

    title: str
    lines: list[RescoreLine]
    notes: list[str]
    metrics: tuple[str, ...]


def rescore(
    records: Iterable[Record],
    target: Protocol | None,
    choices: Choices | None = None,
    recount: Recount | None = None,
) -> list[Rescored]:
    """Score `records` under their own protocol's metric, that of `target`, and other choices.

    Args:
        records: finished runs.
        target: another protocol; None for choices alone.
        choices: rules to score by, each by itself.
        recount: counts stored predictions again; without it no other resolution is defined.

    Raises:
        SettingsError: a run has no masks.
    """
    groups = comparable(records)
    without_masks = [record.path.name for group in groups for record in group if not record.protocol.has_masks]
    if without_masks:
        raise SettingsError(
            f"{without_masks[0]} is a run of classification, which has one metric; expected runs with masks"
        )
    return [_Scoring(target, choices or Choices(), recount).group(group) for group in groups]


def views(record: Record, target: Protocol | None, choices: Choices, recounts: bool = False) -> list[RescoreView]:
    """List the run's own metric, that of `target`, and each choice by itself.

    Args:
        record: the run.
        target, choices: as in `rescore`.
        recounts: whether stored predictions can be counted at another resolution.
    """
    own = segmentation_of(record.header)
    found = [RescoreView(f"own metric: {own.name} v{own.version}", own.counting.void)]
    if target is not None:
        found += _views_of_protocol(record, own, target, recounts)
    if choices.void is not None:
        found.append(RescoreView(f"only void: {choices.void}", choices.void))
    if choices.resolution is not None:
        found.append(
            RescoreView(
                f"only resolution: {_in_words(choices.resolution)}", own.counting.void, resolution=choices.resolution
            )
        )
    if choices.sizes is not None:
        low, high = (f"{100 * end:g}" for end in choices.sizes)
        found.append(
            RescoreView(f"only objects of {low} to {high} % of the query", own.counting.void, sizes=choices.sizes)
        )
    return found


def _views_of_protocol(record: Record, own: Protocol, target: Protocol, recounts: bool) -> list[RescoreView]:
    """List the metric of `target`, and each of its choices by itself that the record's counts can follow."""
    reason = undefined(record, own, target)
    found = []
    if own.name != target.name:
        label = f"metric of {target.name} v{target.version}, same episodes"
        side = None
        if recounts and reason and not _too_many_ways(record, target) and _is_followed(own, target):
            side = _resolution(target)
        other = target.view if _truth_rule(target) != _truth_rule(own) else None
        found.append(
            RescoreView(
                label,
                target.counting.void,
                undefined=reason,
                resolution=side,
                truth_view=other,
                absent=target.counting.absent,
            )
        )
    if reason and target.counting.void != own.counting.void:
        found.append(RescoreView(f"only void: {target.counting.void}", target.counting.void))
    if record.run.presence == "predicted":
        found.append(RescoreView(f"only presence: {target.counting.presence}", own.counting.void, from_mask=True))
    return found


def _resolution(protocol: Protocol) -> int:
    """Return the resolution of a protocol's metrics as `RescoreView.resolution`."""
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
    """Say why the counts of `record` do not give the metric of `target`; "" when they do."""
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
            f"{own.name} and {target.name} take other pixels of the truth at the size at which they count; evaluate "
            f"again under {target.name}"
        )
    if (target.view.frame, target.view.resize == "padded") != (own.view.frame, own.view.resize == "padded"):
        return (
            f"{own.name} and {target.name} lay masks over the query in other ways; evaluate again under {target.name}"
        )
    return ""


def _size_in_words(protocol: Protocol) -> str:
    """Return the resolution of a protocol's metrics in words."""
    named = {
        "original": "the query's original size",
        "input": "the method's input size",
        "square": "the square of the query's longer side",
        "there_and_back": "the query's original size, the truth by way of the method's input size",
    }
    side = protocol.view.query_size
    return f"{side} x {side}" if isinstance(side, int) else named[side]


def presence_from_counts(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Decide presence in a count table by the rule `any_pixel`, void pixels included, in slot 0 as in the ways."""
    # spared until it is needed
    import polars as pl

    return frame.with_columns(decided=pl.col("pred") + pl.col("pred_void") > 0)


@dataclass(frozen=True)
class _Scoring:
    """The arguments of `rescore`, applied to groups of runs that may be compared."""

    target: Protocol | None
    choices: Choices
    recount: Recount | None

    def group(self, records: list[Record]) -> Rescored:
        header = records[0].header
        metrics = records[0].protocol.default_metrics
        if largest_way(header) > 1:  # with one way it equals FB-IoU
            metrics = (*metrics[:-1], "FB-IoU-any", metrics[-1])
        lines: list[RescoreLine] = []
        for label, members in variants(records).items():
            ordered = sorted(members, key=fold_of)
            for record in ordered:
                lines += self._lines(label, str(fold_of(record)), [record], metrics)
            if len(ordered) == header.folds > 1:
                lines += self._lines(label, "mean", ordered, metrics)
        reasons = dict.fromkeys(f"{line.figures}: not defined: {line.undefined}" for line in lines if line.undefined)
        found = [*all_notes(records), *_warnings(records, self.target, self.choices), *reasons]
        return Rescored(title(records), lines, found, metrics)

    def _lines(self, method: str, fold: str, records: list[Record], metrics: tuple[str, ...]) -> list[RescoreLine]:
        own, *others = views(records[0], self.target, self.choices, self.recount is not None)
        parts = [self._sums(record, own) for record in records]
        lines = [RescoreLine(method, fold, own.label, _select_metrics(estimates(parts), metrics))]
        for view in others:
            changed, reason, label = [], view.undefined, view.label
            if not reason or view.resolution is not None:
                try:
                    changed = [self._sums(record, view) for record in records]
                except FsbenchError as error:
                    words = user_message(error)
                    reason = words if view.sizes else "; ".join(filter(None, [reason, f"stored predictions: {words}"]))
            if not changed:
                lines.append(RescoreLine(method, fold, label, undefined=reason))
                continue
            if view.undefined and view.resolution is not None:
                label += f" (stored masks at {_in_words(view.resolution)})"
            change = {} if view.sizes else gains(parts, changed)  # some queries alone are no other view of all
            scores = _select_metrics(estimates(changed), metrics)
            lines.append(RescoreLine(method, fold, label, scores, _select_metrics(change, metrics)))
        return lines

    def _sums(self, record: Record, view: RescoreView) -> ScoreStatistics:
        frame = record.episodes
        if view.resolution is not None:
            if self.recount is None:
                raise SettingsError("no data are at hand to count stored predictions with")
            side = input_resolution(record) if view.resolution == AT_INPUT else view.resolution
            frame = self.recount(record, side, *([] if view.truth_view is None else [view.truth_view]))
        if view.from_mask:
            frame = presence_from_counts(frame)
        if view.sizes is None:
            own = segmentation_of(record.header)
            counting = own.counting
            assert isinstance(counting, PixelCounting)
            scored = own if view.absent is None else replace(own, counting=replace(counting, absent=view.absent))
            return scored.statistics(frame, record.header, view.void)
        keep = pairs_between(frame, *view.sizes)
        if not keep.any():
            raise SettingsError("the run has no object of that size")
        classes = sorted(set(frame["class_id"].to_numpy()[keep].tolist()))
        return pair_statistics(frame, keep, classes, view.void, record.protocol.metrics, record.header)


def _select_metrics(scores: dict[str, Estimate], metrics: tuple[str, ...]) -> dict[str, Estimate]:
    return {name: scores[name] for name in metrics if name in scores}


def _warnings(records: list[Record], target: Protocol | None, choices: Choices) -> list[str]:
    header = records[0].header
    own = segmentation_of(header)
    notes = []
    if choices.sizes is not None:
        notes.append("of some objects alone: their queries alone, and accuracy is that of presence decisions")
    if target is not None and own.name != target.name:
        notes.append(
            f"same episodes: drawn and predicted under {own.name}; {target.name}'s own figure needs a run under it"
        )
    if target is not None and header.empty and not target.draw.empty_queries:
        notes.append(f"queries may be empty here; under {target.name} every query shows the class")
    if header.version != own.version:
        notes.append(f"made under {own.name} v{header.version}; the own metric here is that of v{own.version}")
    if largest_way(header) > 1:
        notes.append(f"FB-IoU-any: {metric_named('FB-IoU-any').meaning}")
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
            change = line.difference.get(metric)
            cells += [figure(line.scores.get(metric), metric), moved(change, 2) if change else ""]
        grid.append(cells)
    difference = (
        f"difference: to the run's own figure, {in_units(item.metrics)}, with the interval of the difference itself"
    )
    explained = interval_notes((score for line in item.lines for score in line.scores.values()), item.metrics)
    return Sheet(item.title, [("", grid)], [*item.notes, difference, *explained])
