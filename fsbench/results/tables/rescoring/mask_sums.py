"""Sums over a run's stored masks, for boundary IoU and the calibration of soft masks."""

from collections.abc import Callable

import numpy as np

from fsbench.base.errors import RecordError
from fsbench.protocols.reading import segmentation_of
from fsbench.records.record import Record
from fsbench.results.tables.rescoring.recount import Truth, last_slots, own_resolution, stored_predictions
from fsbench.scores.boundary import boundary_counts
from fsbench.scores.calibration import BINS, soft_mask_sums
from fsbench.scores.scores import BoundaryIoU, PixelCalibration, PixelECE, PresenceCalibration, PresenceECE

BOUNDARY = BoundaryIoU.name
PRESENCE = {PresenceECE.name, PresenceCalibration.name}
PIXELS = {PixelECE.name, PixelCalibration.name}
"""Scores of the sums over presence scores, and over soft masks."""

MaskSums = tuple[np.ndarray, np.ndarray | None]
"""Sums of boundaries (R, 2) int64 and of soft masks (R, BINS, 3) float64, see `Measures`; None without soft masks."""


def mask_sums(record: Record, open_truth: Callable[[Record], Truth]) -> MaskSums:
    """Measure a run's boundaries and its soft masks, both in one pass.

    Args:
        record: the finished run.
        open_truth: opens the data of the run.

    Returns:
        Sums for each of the R rows of the count table; None of soft masks where none were kept.

    Raises:
        FsbenchError: there are no sound predictions, or no data.
    """
    stored = stored_predictions(record)
    truth, side = open_truth(record), own_resolution(record)
    protocol = segmentation_of(record.header)
    frame = record.episodes
    boundary = np.zeros((len(frame), 2), dtype=np.int64)
    pixels = np.zeros((len(frame), BINS, 3)) if stored.has_soft_masks else None
    start = 0
    for episode, ways in last_slots(frame):
        target = truth(episode)
        target = protocol.view.squashed_truth(target, side) if side else target
        predicted = stored.label_map(episode)
        if predicted.shape != target.shape:
            raise RecordError(f"episode {episode} has another size than the data at hand")
        boundary[start : start + ways + 1] = boundary_counts(predicted, target, ways, protocol.counting.void)
        soft = stored.soft_masks(episode) if pixels is not None else None
        if pixels is not None and soft is not None:
            for slot, mask in enumerate(soft, 1):
                pixels[start + slot] = soft_mask_sums(mask, target, slot, protocol.counting.void)
        start += ways + 1
    return boundary, pixels
