"""Label maps resized and renamed as the protocols do it (fss-protocol §4). Needs numpy and OpenCV alone."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from fsbench.data.dataset import VOID


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) to (height, width), nearest with source index floor(i · in/out) in float32.

    This is torch's `interpolate(mode="nearest")`; the product is rounded to float32, which differs from the exact
    integer quotient for some sizes (fss-protocol §4).
    """
    rows, columns = _source_index(labels.shape[0], height), _source_index(labels.shape[1], width)
    if labels.dtype != np.uint8:
        return labels.take(rows, axis=0).take(columns, axis=1)
    # spared until it is needed
    import cv2

    # Whole rows are copied at once, single pixels one by one: so columns are taken as rows of the transposed map.
    return np.asarray(cv2.transpose(cv2.transpose(labels.take(rows, axis=0)).take(columns, axis=0)))


@lru_cache(maxsize=4096)
def _source_index(length: int, size: int) -> np.ndarray:
    scale = np.float32(length) / np.float32(size)
    index = np.floor(np.arange(size, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(index, length - 1)


def way_labels(labels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Turn label values into way slots: the n-th of `classes` becomes n (from 1), other values 0; void stays 255."""
    slots = np.zeros(256, dtype=np.uint8)
    slots[list(classes)] = np.arange(1, len(classes) + 1)
    slots[VOID] = VOID
    if labels.dtype != np.uint8:
        return slots.take(labels)
    # spared until it is needed
    import cv2

    return np.asarray(cv2.LUT(labels, slots))


def bounding_boxes(label: np.ndarray) -> np.ndarray:
    """Fill label (h, w) with foreground 1: every 8-connected piece of it becomes its bounding box, one pixel beyond
    on the right and below, as the authors draw it; void stays on top (hmnet.md §11.4)."""
    # spared until it is needed
    import cv2

    mask = (label == 1).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    filled = np.zeros_like(label)
    for left, top, width, height, _ in boxes[1:]:
        filled[top : top + height + 1, left : left + width + 1] = 1
    filled[label == VOID] = VOID
    return filled


Box = tuple[float, float, float, float]
"""x, y, width and height in pixels of an image."""


def largest_part_box(mask: np.ndarray) -> Box | None:
    """Return the box around the largest 8-connected part of a mask (H, W), of equal ones the first in raster order.

    None where the mask is empty.
    """
    import cv2  # spared until it is needed

    filled = np.asarray(mask) != 0
    if not filled.any():
        return None
    parts = cv2.connectedComponents(filled.astype(np.uint8), connectivity=8)[1]
    numbers, first, sizes = np.unique(parts.ravel(), return_index=True, return_counts=True)
    kept = numbers > 0
    best = min(zip(-sizes[kept], first[kept], numbers[kept], strict=True))[2]
    rows, columns = np.nonzero(parts == best)
    x, y = int(columns.min()), int(rows.min())
    return float(x), float(y), float(columns.max() - x + 1), float(rows.max() - y + 1)
