"""The counts of finished runs under all sizes, draws and checkpoints that are at hand, in one pass over predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fsbench.base.errors import FsbenchError, RecordError, SettingsError, user_message
from fsbench.protocols.geometry import Geometry
from fsbench.protocols.parts.comparison import PARTS
from fsbench.protocols.segmentation import Segmentation, segmentation_of
from fsbench.records.counts import DRAW
from fsbench.records.grouping import fold_of
from fsbench.records.record import Record
from fsbench.results.tables.rescoring.recount import (
    ORIGINAL,
    Progress,
    Resolution,
    Truth,
    input_resolution,
    own_resolution,
    recount_all,
    stored_predictions,
)
from fsbench.results.why.rules import FoldCounts, RunCounts

if TYPE_CHECKING:
    import polars as pl

USUAL_SIZES = (
    "original, height and width", "network input, torch nearest", "network input, OpenCV nearest",
    "network input, PIL nearest", "fixed 256", "fixed 512",
)  # fmt: skip
"""Sizes, in the words of the atlas, at which stored masks are counted whatever the claimed test."""
USUAL_SIDES = (400, 417, 473)
"""Sides of the input of most programs on PASCAL, at which theirs count."""


@dataclass(frozen=True)
class Evidence:
    """The counts of a run on its folds, and what could not be counted.

    Attributes:
        run: the counts.
        unanswered: changes that the stored data cannot follow, each with the reason.
    """

    run: RunCounts
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
        others: further runs, of which those of other checkpoints of the same method on the same episodes are taken.
        further_sizes: words of `compared_at` that the claimed test has.
        progress: makes what wraps the loop over the episodes, of a name.

    Raises:
        SettingsError: a run has no masks, or two are of one fold.
        RecordError: counts are damaged.
    """
    without = [record.path.name for record in records if not record.protocol.has_masks]
    if without:
        raise SettingsError(f"{without[0]} is a run of classification, which has one metric; expected runs with masks")
    unanswered: list[str] = []
    folds = []
    for record in sorted(records, key=fold_of):
        resized: Mapping[str, pl.DataFrame] = {}
        try:
            if open_truth is not None:
                resized = _resized(record, open_truth, further_sizes, progress)
        except FsbenchError as error:
            unanswered.append(f"compared at another size: {user_message(error)}")
        folds.append(FoldCounts(record.header, record.episodes, resized, _draws(record), _checkpoints(record, others)))
    if open_truth is None:
        unanswered.append("compared at another size: fsbench why counts the stored predictions there")
    run = RunCounts(folds)
    return Evidence(run, tuple(dict.fromkeys([*unanswered, *_unanswered(records, run)])))


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


def _draws(record: Record) -> "dict[int, pl.DataFrame]":
    """Return the counts of further draws of the supports, whose rows are those of the official episodes."""
    if record.header.draws < 2:
        return {}
    every = record.every_draw
    return {draw: every.filter(every[DRAW] == draw).drop(DRAW) for draw in range(1, record.header.draws)}


def _checkpoints(record: Record, others: Sequence[Record]) -> "dict[str, pl.DataFrame]":
    """Return the counts of other checkpoints of the same method on the same episodes, by the names of their runs."""
    identity = record.run.identity

    def is_alike(other: Record) -> bool:
        theirs = other.run.identity
        return (
            other.run.id != record.run.id
            and other.manifest_sha256 == record.manifest_sha256
            and (theirs.method, theirs.backbone, theirs.image_size)
            == (identity.method, identity.backbone, identity.image_size)
            and other.run.checkpoint_sha256 not in (None, record.run.checkpoint_sha256)
        )

    return {other.path.name: other.episodes for other in others if is_alike(other)}


def _unanswered(records: Sequence[Record], run: RunCounts) -> list[str]:
    """Say of each change that stored data could not follow what would tell it."""
    record, header = records[0], records[0].header
    kept = record.run.predictions
    lines = []
    if kept is None or kept.kept != "soft":
        lines.append("best threshold on the test: the run kept no soft masks (--keep-predictions soft)")
    else:
        lines.append("best threshold on the test: soft masks are kept at 64 x 64 alone, which is no size of a test")
    if header.shot > 1:
        lines.append(f"{header.shot} shots voted or averaged: the answers to single shots are not stored; run SHOT=1")
    if header.draws < 2:
        lines.append("draws of the supports: the run has one (--draws 8)")
    if not run.folds[0].checkpoints:
        lines.append("best checkpoint by its test score: no run of another checkpoint on these episodes is here")
    if header.classes == "novel":
        lines.append("base classes among the test's: no episode of the run asks for one")
    return lines
