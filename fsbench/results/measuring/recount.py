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
    """Return a function that reads the truth of a run's episode as it was counted (`View.original_truth`).

    Args:
        record: the run, of segmentation.
        data: the data set that it was tested on.
    """
    view, side = segmentation_of(record.header).view, record.run.identity.image_size
    episodes = {episode.number: episode for episode in record.manifest.episodes}

    def truth(number: int) -> np.ndarray:
        episode = episodes[number]
        labels = way_labels(data.label_map(episode.query), data.label_values(episode.query, episode.classes))
        return view.original_truth(labels, side)

    return truth


def input_resolution(record: Record) -> int:
    """Return the side of the images that the run's method saw. Raises RecordError if the record does not say."""
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
    """Return the resolution at which the run's pixels were counted; raises as `input_resolution`."""
    side = segmentation_of(record.header).view.query_size
    if side == "input":
        return input_resolution(record)
    return side if isinstance(side, int) else ORIGINAL  # what is stored of a square is the part over the query


def stored_predictions(record: Record) -> StoredPredictions:
    """Read a run's predictions. Raises RecordError if there are none or the file is another run's."""
    stored = read_predictions(record)
    if stored is None:
        raise RecordError("the run kept no predictions (repeat it with --force)")
    return stored


def last_slots(frame: "pl.DataFrame") -> list[tuple[int, int]]:
    """List (number, ways) of the episodes of a count table, whose rows are sorted by (episode, slot)."""
    ways: dict[int, int] = {}
    for episode, slot in frame.select("episode", "slot").iter_rows():
        ways[episode] = slot
    return list(ways.items())


def recount(record: Record, truth: Truth, resolution: int, view: View | None = None) -> "pl.DataFrame":
    """Count a run's stored masks against the truth at another size.

    Masks and truth are brought to the size by nearest pixels, the truth as the protocol resizes it. At the run's own
    size the counts are the record's.

    Args:
        record: the finished run.
        truth: the truth of its episodes.
        resolution: `ORIGINAL`, or the side of a square in pixels.
        view: that of another test, whose rule brings the truth there; the run's own unless given.

    Returns:
        The record's count table with other counts, and without region measures. Presence is decided as it was, or from
        the masks where the method only segments.

    Raises:
        RecordError: there are no predictions, or they are not those of the counts.
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
