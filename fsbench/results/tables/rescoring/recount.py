"""Count the pixels of stored predictions again: at another resolution, without the method and without a GPU."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import RecordError
from fsbench.protocols.geometry import Geometry
from fsbench.protocols.segmentation import segmentation_of
from fsbench.records.predictions import SOFT_SIDE, StoredPredictions, read_predictions
from fsbench.records.record import Record
from fsbench.scores.confusion import COUNTS, REGIONS

if TYPE_CHECKING:
    import polars as pl

Truth = Callable[[int], np.ndarray]
"""Number of an episode -> its truth (h, w) uint8 at the query's original size: ways 1..N, 255 void."""

Progress = Callable[[list[Any]], Iterable[Any]]
"""Wraps a loop, and shows how far it is."""

ORIGINAL = 0
"""Resolution of the query's original size; any other number is the side of a square."""


LARGEST_SIDE = 4096
"""Largest side of a square; a record's is anybody's."""


def input_resolution(record: Record) -> int:
    """Return the side of the images that the run's method saw. Raises RecordError where the record does not tell."""
    side = record.run.identity.image_size
    if not side or side > LARGEST_SIDE:
        raise RecordError(f"run.json has the image size {side}; expected a side from 1 to {LARGEST_SIDE}")
    return int(side)


def own_resolution(record: Record) -> int:
    """Return the resolution at which the run's pixels were counted; raises as `input_resolution`."""
    side = segmentation_of(record.header).query_size
    if side == "input":
        return input_resolution(record)
    return side if isinstance(side, int) else ORIGINAL  # what is stored of a square is the part over the query


def stored_predictions(record: Record) -> StoredPredictions:
    """Read a run's predictions. Raises RecordError where it has none, or a file that is not its."""
    stored = read_predictions(record)
    if stored is None:
        raise RecordError("the run kept no predictions (repeat it with FORCE=1)")
    return stored


def last_slots(frame: "pl.DataFrame") -> list[tuple[int, int]]:
    """List (number, ways) of the episodes of a count table, whose rows are sorted by (episode, slot)."""
    ways: dict[int, int] = {}
    for episode, slot in frame.select("episode", "slot").iter_rows():
        ways[episode] = slot
    return list(ways.items())


@dataclass(frozen=True)
class Resolution:
    """A size at which stored masks are counted.

    Attributes:
        side: `ORIGINAL`, or the side of a square in pixels.
        geometry: that of another test, whose rule brings the truth there; the run's own unless given.
    """

    side: int
    geometry: Geometry | None = None


def recount(record: Record, truth: Truth, resolution: int, geometry: Geometry | None = None) -> "pl.DataFrame":
    """Count a run's stored masks against the truth at one size; see `recount_all`."""
    return recount_all(record, truth, [Resolution(resolution, geometry)])[0]


def recount_all(
    record: Record, truth: Truth, resolutions: Sequence[Resolution], progress: Progress = iter
) -> "list[pl.DataFrame]":
    """Count a run's stored masks against the truth at several sizes, in one pass over both.

    Masks and truth are brought to each size by nearest pixels, the truth as the protocol resizes it. At the run's own
    size the counts are the record's.

    Args:
        record: the finished run.
        truth: of its episodes.
        resolutions: the sizes.
        progress: wraps the loop over the episodes.

    Returns:
        For each size the record's count table with other counts, and without region measures. Presence is decided as
        it was, or from the masks where the method only segments.

    Raises:
        RecordError: there are no predictions, or they are not those of the counts.
    """
    # spared until it is needed
    from fsbench.scores.answers import count

    stored = stored_predictions(record)
    frame, own = record.episodes, segmentation_of(record.header).geometry
    rows: list[list[np.ndarray]] = [[] for _ in resolutions]
    for episode, ways in progress(last_slots(frame)):
        labels, predicted = truth(episode), stored.label_map(episode)
        for place, resolution in enumerate(resolutions):
            target = _resized_truth(record, labels, resolution, own)
            rows[place].append(count(_fitted(predicted, target.shape), target, ways))
    return [_with_counts(record, np.concatenate(counted)) for counted in rows]


def recount_soft(
    record: Record, truth: Truth, thresholds: Sequence[float], progress: Progress = iter
) -> "list[pl.DataFrame]":
    """Count a run's soft masks at the grid that is kept of them, `SOFT_SIDE` x `SOFT_SIDE`, at several thresholds.

    A pixel is of the way with the largest probability there, where that exceeds the threshold. The truth is brought to
    the grid by nearest pixels.

    Args:
        record, truth, progress: see `recount_all`.
        thresholds: from 0 to 1.

    Returns:
        For each threshold the record's count table with the counts of the grid.

    Raises:
        RecordError: there are no soft masks, or they are not those of the run.
    """
    # spared until it is needed
    from fsbench.scores.answers import count

    stored = stored_predictions(record)
    geometry = segmentation_of(record.header).geometry
    rows: list[list[np.ndarray]] = [[] for _ in thresholds]
    for episode, ways in progress(last_slots(record.episodes)):
        soft = stored.soft_masks(episode)
        if soft is None:
            raise RecordError(f"episode {episode} has no soft mask")
        target = geometry.squashed_truth(truth(episode), SOFT_SIDE)
        way, probability = soft.argmax(0) + 1, soft.max(0)
        for place, threshold in enumerate(thresholds):
            rows[place].append(count(np.where(probability > 255 * threshold, way, 0), target, ways))
    return [_with_counts(record, np.concatenate(counted)) for counted in rows]


def _with_counts(record: Record, counts: np.ndarray) -> "pl.DataFrame":
    """Return the count table of a run with other counts (rows, 6), without region measures."""
    # spared until it is needed
    import polars as pl

    changed = record.episodes.drop(REGIONS, strict=False).with_columns(
        pl.Series(name, counts[:, column], pl.Int64) for column, name in enumerate(COUNTS)
    )
    is_predicted = record.run.presence == "predicted"
    return changed.with_columns(decided=pl.col("decided") if is_predicted else pl.col("pred") + pl.col("pred_void") > 0)


def _resized_truth(record: Record, labels: np.ndarray, resolution: Resolution, own: Geometry) -> np.ndarray:
    """Bring the truth of a query to a size."""
    rule = resolution.geometry or own
    if resolution.side:
        return rule.squashed_truth(labels, resolution.side)
    return labels if resolution.geometry is None else rule.original_truth(labels, input_resolution(record))


def _fitted(predicted: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    # spared until it is needed
    from fsbench.data.label_maps import resize_labels

    return resize_labels(predicted, size[0], size[1])
