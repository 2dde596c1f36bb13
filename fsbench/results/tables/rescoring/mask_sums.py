"""Sums over a run's stored masks, for boundary IoU and the calibration of soft masks, kept once they were measured."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fsbench.base.errors import RecordError
from fsbench.base.files import sha256_file
from fsbench.base.files.arrays import array_as_text, array_from_text
from fsbench.protocols.segmentation import segmentation_of
from fsbench.records.figure_cache import cached_figures
from fsbench.records.predictions import FILE
from fsbench.records.record import Record
from fsbench.results.tables.rescoring.recount import Truth, last_slots, own_resolution, stored_predictions
from fsbench.scores.boundary import boundary_counts
from fsbench.scores.calibration import BINS, soft_mask_sums
from fsbench.scores.scores import BoundaryIoU, PixelCalibration, PixelECE, PresenceCalibration, PresenceECE

BOUNDARY = BoundaryIoU.name
PRESENCE = {PresenceECE.name, PresenceCalibration.name}
PIXELS = {PixelECE.name, PixelCalibration.name}
"""Scores of the sums over presence scores, and over soft masks."""

MASK_SUMS_VERSION = 1
"""Version of everything that the sums follow from: boundaries, bins, resizing, decoding of masks, this module. It grows
when a result changes; sums of another version are measured again."""

MaskSums = tuple[np.ndarray, np.ndarray | None]
"""Sums of boundaries (R, 2) int64 and of soft masks (R, BINS, 3) float64, see `Measures`; None without soft masks."""


def mask_sums(record: Record, open_truth: Callable[[Record], Truth]) -> MaskSums:
    """Return the sums of a run's boundaries and of its soft masks, from the cache where they were measured before.

    Both are measured in one pass, whichever is asked for first.

    Args:
        record: the finished run.
        open_truth: opens the data of the run; it is not asked for sums that are cached.

    Returns:
        Sums for each of the R rows of the count table; None of soft masks where none were kept.

    Raises:
        FsbenchError: there are no sound predictions, or no data.
    """
    try:
        file = sha256_file(record.path / FILE)
    except OSError:
        return _measure(record, open_truth)  # says what is missing
    stated = record.run.predictions and record.run.predictions.as_json()
    source = [stated, file, record.run.identity.files_sha256, own_resolution(record)]
    key = [MASK_SUMS_VERSION, "mask sums", source]

    def compute() -> dict[str, Any]:
        boundary, pixels = _measure(record, open_truth)
        return {"boundary": array_as_text(boundary), "pixels": None if pixels is None else array_as_text(pixels)}

    return cached_figures([record], key, compute, partial(_decode, len(record.episodes)))


def _measure(record: Record, open_truth: Callable[[Record], Truth]) -> MaskSums:
    stored = stored_predictions(record)
    truth, side = open_truth(record), own_resolution(record)
    protocol = segmentation_of(record.header)
    frame = record.episodes
    boundary = np.zeros((len(frame), 2), dtype=np.int64)
    pixels = np.zeros((len(frame), BINS, 3)) if stored.has_soft_masks else None
    start = 0
    for episode, ways in last_slots(frame):
        target = truth(episode)
        target = protocol.geometry.squashed_truth(target, side) if side else target
        predicted = stored.label_map(episode)
        if predicted.shape != target.shape:
            raise RecordError(f"episode {episode} has another size than the data at hand")
        boundary[start : start + ways + 1] = boundary_counts(predicted, target, ways, protocol.void)
        soft = stored.soft_masks(episode) if pixels is not None else None
        if pixels is not None and soft is not None:
            for slot, mask in enumerate(soft, 1):
                pixels[start + slot] = soft_mask_sums(mask, target, slot, protocol.void)
        start += ways + 1
    return boundary, pixels


def _decode(rows: int, values: dict[str, Any]) -> MaskSums:
    """Turn cached values into the sums of `rows` rows. Raises ValueError and the like for values that are none."""
    boundary, pixels = values["boundary"], values["pixels"]
    return (
        array_from_text(boundary, (rows, 2), "<i8"),
        None if pixels is None else array_from_text(pixels, (rows, BINS, 3), "<f8"),
    )
