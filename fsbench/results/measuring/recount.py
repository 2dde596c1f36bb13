"""Count the pixels of stored predictions again: at another resolution, without the method and without a GPU."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fsbench.base.errors import RecordError
from fsbench.data.dataset import SegmentationData
from fsbench.data.label_maps import way_labels
from fsbench.protocols.reading import segmentation_of
from fsbench.protocols.view import View
from fsbench.records.predictions import StoredPredictions, read_predictions
from fsbench.records.record import Record
from fsbench.scores.confusion import COUNTS, REGIONS

if TYPE_CHECKING:
    import polars as pl

Truth = Callable[[int], np.ndarray]
"""Number of an episode -> its truth (h, w) uint8 at the query's original size: ways 1..N, 255 void."""

ORIGINAL = 0
"""Resolution of the query's original size; any other number is the side of a square."""


LARGEST_SIDE = 4096
"""Largest side of a square; a record's is anybody's."""


def read_truth(record: Record, data: SegmentationData) -> Truth:
    """Return a function that takes an episode's number and reads its true label map as the run counted it.

    Args:
        record: a segmentation run.
        data: the data set of the run's test.

    Returns:
        Episode number -> (h, w) uint8 at the query's original size: 0 background, 1..N ways, 255 void.
    """
    view, side = segmentation_of(record.header).view, record.run.identity.image_size
    episodes = {episode.number: episode for episode in record.manifest.episodes}

    def truth(number: int) -> np.ndarray:
        episode = episodes[number]
        labels = way_labels(data.label_map(episode.query), data.label_values(episode.query, episode.classes))
        return view.original_truth(labels, side)

    return truth


def input_resolution(record: Record) -> int:
    """Return the side, in pixels, of the images that a run's method got. Raises RecordError if it is not recorded."""
    side = record.run.identity.image_size
    if side is None:
        raise RecordError(
            f"{record.path} holds predictions that were handed in, whose input size is not known; expected a run that "
            "fsbench made; give runs of fsbench bench"
        )
    if not side or side > LARGEST_SIDE:
        raise RecordError(f"run.json has the image size {side}; expected a side from 1 to {LARGEST_SIDE}")
    return int(side)


def own_resolution(record: Record) -> int:
    """Return the side in pixels at which a run's pixels were counted, or `ORIGINAL` for each query's own size.

    Raises RecordError if the pixels were counted at the method's input size and the record does not state that size.
    """
    side = segmentation_of(record.header).view.query_size
    if side == "input":
        return input_resolution(record)
    return side if isinstance(side, int) else ORIGINAL  # what is stored of a square is the part over the query


def stored_predictions(record: Record) -> StoredPredictions:
    """Read a run's stored predictions. Raises RecordError if there are none or the file belongs to another run."""
    stored = read_predictions(record)
    if stored is None:
        raise RecordError("the run kept no predictions (repeat it with --force)")
    return stored


def last_slots(frame: "pl.DataFrame") -> list[tuple[int, int]]:
    """List (episode number, number of ways) from a count table whose rows are sorted by (episode, slot)."""
    ways: dict[int, int] = {}
    for episode, slot in frame.select("episode", "slot").iter_rows():
        ways[episode] = slot
    return list(ways.items())


def recount(record: Record, truth: Truth, resolution: int, view: View | None = None) -> "pl.DataFrame":
    """Count a run's stored masks against the truth at another size.

    Masks are resized by nearest neighbour, the truth as the protocol resizes it. At the size that the run used, the
    counts equal those of its record.

    Args:
        record: the finished run.
        truth: returns the true label map (h, w) of an episode, given its number.
        resolution: `ORIGINAL` for each query's own size, or the side of a square in pixels.
        view: rule by which the truth is resized; by default that of the run's test.

    Returns:
        The run's count table with the new counts, and without region measures. Presence decisions are kept, or made
        from the resized masks if the method only segments.

    Raises:
        RecordError: there are no stored predictions, or they do not match the counts.
    """
    # spared until it is needed
    from fsbench.scores.answers import count

    stored = stored_predictions(record)
    rows: list[np.ndarray] = []
    for episode, ways in last_slots(record.episodes):
        target = _resized_truth(record, truth(episode), resolution, view)
        rows.append(count(_fitted(stored.label_map(episode), target.shape), target, ways))
    return _with_counts(record, np.concatenate(rows))


def _with_counts(record: Record, counts: np.ndarray) -> "pl.DataFrame":
    """Return the count table of a run with other counts (rows, 6), without region measures."""
    # spared until it is needed
    import polars as pl

    changed = record.episodes.drop(REGIONS, strict=False).with_columns(
        pl.Series(name, counts[:, column], pl.Int64) for column, name in enumerate(COUNTS)
    )
    is_predicted = record.run.presence == "predicted"
    return changed.with_columns(decided=pl.col("decided") if is_predicted else pl.col("pred") + pl.col("pred_void") > 0)


def _resized_truth(record: Record, labels: np.ndarray, resolution: int, view: View | None) -> np.ndarray:
    """Bring the truth of a query to a size."""
    rule = view or segmentation_of(record.header).view
    if resolution:
        return rule.squashed_truth(labels, resolution)
    return labels if view is None else rule.original_truth(labels, input_resolution(record))


def _fitted(predicted: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    # spared until it is needed
    from fsbench.data.label_maps import resize_labels

    return resize_labels(predicted, size[0], size[1])
