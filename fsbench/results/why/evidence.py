"""The counts of finished runs under all sizes, draws and further runs that are at hand, and of their soft masks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fsbench.base.errors import FsbenchError, RecordError, SettingsError, user_message
from fsbench.protocols.geometry import Geometry
from fsbench.protocols.parts.comparison import PARTS
from fsbench.protocols.segmentation import Segmentation, segmentation_of
from fsbench.records.counts import DRAW
from fsbench.records.grouping import fold_of
from fsbench.records.predictions import read_predictions
from fsbench.records.record import Record
from fsbench.results.tables.rescoring.recount import (
    ORIGINAL,
    Progress,
    Resolution,
    Truth,
    input_resolution,
    own_resolution,
    recount_all,
    recount_soft,
    stored_predictions,
)
from fsbench.results.why.changes import DrawChange, changes
from fsbench.results.why.next_steps import what_would_tell
from fsbench.results.why.rules import Answers, FoldCounts, RunCounts
from fsbench.results.why.siblings import siblings
from fsbench.results.why.spreads import BestThreshold, Spread

if TYPE_CHECKING:
    import polars as pl

USUAL_SIZES = (
    "original, height and width", "network input, torch nearest", "network input, OpenCV nearest",
    "network input, PIL nearest", "fixed 256", "fixed 512",
)  # fmt: skip
"""Sizes, in the words of the atlas, at which stored masks are counted whatever the claimed test."""
USUAL_SIDES = (400, 417, 473)
"""Sides of the input of most programs on PASCAL, at which theirs count."""


THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""Thresholds of soft masks among which the best is looked for."""


@dataclass(frozen=True)
class Evidence:
    """The counts of a run on its folds, and what could not be counted.

    Attributes:
        run: the counts.
        spreads: distributions that follow from what the run keeps beside its counts.
        unanswered: changes that the data at hand cannot follow, each with what would tell it.
    """

    run: RunCounts
    spreads: tuple[Spread, ...] = ()
    unanswered: tuple[str, ...] = ()


def sizes(record: Record, further: Sequence[str] = ()) -> dict[str, Resolution]:
    """Return the sizes at which a run's stored masks can be counted, besides their own, by the words of the atlas.

    Args:
        record: the run.
        further: words that the claimed test has.
    """
    own = segmentation_of(record.header)
    words = list(dict.fromkeys([*USUAL_SIZES, *further]))
    found = {word: size for word in words if (size := _size(word, record, own)) is not None}
    torch_rule = replace(own.geometry, query_size="input", label_resize="pil", frame=None)
    if own.geometry.truth_resize != "padded":
        sides = {f"network input of {side}, torch nearest": side for side in USUAL_SIDES}
        at_own = record.run.identity.image_size
        found |= {word: Resolution(side, torch_rule) for word, side in sides.items() if side != at_own}
    found.pop(own.geometry.compared_at, None)
    return found


def _size(word: str, record: Record, own: Segmentation) -> Resolution | None:
    """Return the size of a word of `compared_at`; None where stored masks cannot be counted there."""
    part = PARTS.get(word)
    if part is None or part.frame is not None or own.frame is not None or own.query_size == "there_and_back":
        return None
    if part.query_size in ("square", "there_and_back") or part.label_resize == "padded":
        return None  # of a square the part over the query is stored, and nothing of a truth that was coarse in between
    geometry = Geometry(own.resize, part.query_size, None, label_resize=part.label_resize)
    if part.query_size == "original":
        return Resolution(ORIGINAL)
    if isinstance(part.query_size, int):
        return Resolution(part.query_size)
    try:
        return Resolution(input_resolution(record), geometry)
    except RecordError:
        return None


def gather(
    records: Sequence[Record],
    open_truth: Callable[[Record], Truth] | None,
    others: Sequence[Record] = (),
    further_sizes: Sequence[str] = (),
    progress: Callable[[str], Progress] | None = None,
) -> Evidence:
    """Count a run under everything that its stored data can follow.

    Args:
        records: of one method and test, one for each fold.
        open_truth: opens the data of a run; raises FsbenchError where they are not at hand. None counts no other size.
        others: further runs, of which those are taken that differ in one thing, see `siblings`.
        further_sizes: words of `compared_at` that the claimed test has.
        progress: makes what wraps the loop over the episodes, of a name.

    Raises:
        SettingsError: a run has no masks, or two are of one fold.
        RecordError: counts are damaged.
    """
    without = [record.path.name for record in records if not record.protocol.has_masks]
    if without:
        raise SettingsError(f"{without[0]} is a run of classification, which has one metric; expected runs with masks")
    records = sorted(records, key=fold_of)
    unanswered: list[str] = []
    folds, soft = [], {}
    for record, further in zip(records, siblings(records, others), strict=True):
        resized: Mapping[str, pl.DataFrame] = {}
        try:
            if open_truth is not None:
                resized = _resized(record, open_truth, further_sizes, progress)
        except FsbenchError as error:
            unanswered.append(f"compared at another size: {user_message(error)}")
        else:
            if open_truth is not None and _keeps_soft_masks(record):
                soft[fold_of(record)] = _by_threshold(record, open_truth, progress)
        folds.append(FoldCounts(record.header, record.episodes, resized, _draws(record) | further))
    if open_truth is None:
        unanswered.append("compared at another size: fsbench why counts the stored predictions there")
    run = RunCounts(folds)
    spreads = (BestThreshold(soft, run.by_fold(run.rule)),) if len(soft) == len(folds) else ()
    unanswered += what_would_tell(records, [*changes(run), *spreads])
    return Evidence(run, spreads, tuple(dict.fromkeys(unanswered)))


def _resized(
    record: Record,
    open_truth: Callable[[Record], Truth],
    further: Sequence[str],
    progress: Callable[[str], Progress] | None,
) -> "Mapping[str, pl.DataFrame]":
    stored_predictions(record)  # whose absence is said first
    own_resolution(record)
    wanted = sizes(record, further)
    track = iter if progress is None else progress(f"fold {fold_of(record)}")
    counted = recount_all(record, open_truth(record), list(wanted.values()), track)
    return dict(zip(wanted, counted, strict=True))


def _keeps_soft_masks(record: Record) -> bool:
    stored = read_predictions(record)
    return stored is not None and stored.has_soft_masks


def _by_threshold(
    record: Record, open_truth: Callable[[Record], Truth], progress: Callable[[str], Progress] | None
) -> dict[float, float]:
    """Return the figure of a run's soft masks at each of `THRESHOLDS`."""
    track = iter if progress is None else progress(f"fold {fold_of(record)}, soft masks")
    counted = recount_soft(record, open_truth(record), THRESHOLDS, track)
    return {
        threshold: (fold := FoldCounts(record.header, frame)).figure(fold.rule)
        for threshold, frame in zip(THRESHOLDS, counted, strict=True)
    }


def _draws(record: Record) -> dict[Answers, FoldCounts]:
    """Return the counts of further draws of the supports, whose rows are those of the official episodes."""
    if record.header.draws < 2:
        return {}
    every = record.every_draw
    return {
        DrawChange(draw): FoldCounts(record.header, every.filter(every[DRAW] == draw).drop(DRAW))
        for draw in range(1, record.header.draws)
    }
