"""Label maps resized and renamed as the protocols do it (fss-protocol §4)."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from fsbench.data.dataset import VOID


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) to (height, width), nearest with source index floor(i · in/out) in float32.

    This is torch's `interpolate(mode="nearest")`; the product is rounded to float32, which differs from the exact
    integer quotient for some sizes (fss-protocol §4).
    """
    return take_pixels(labels, _torch_index(labels.shape[0], height), _torch_index(labels.shape[1], width))


@lru_cache(maxsize=4096)
def _torch_index(length: int, size: int) -> np.ndarray:
    scale = np.float32(length) / np.float32(size)
    index = np.floor(np.arange(size, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(index, length - 1)


def resize_labels_cv2(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) to (height, width) by OpenCV's nearest (source index floor(i · in/out) in double)."""
    return take_pixels(labels, _opencv_index(labels.shape[0], height), _opencv_index(labels.shape[1], width))


@lru_cache(maxsize=4096)
def _opencv_index(length: int, size: int) -> np.ndarray:
    index = np.floor(np.arange(size) * (1 / (size / length))).astype(np.int64)  # OpenCV divides twice
    return np.minimum(index, length - 1)


def resize_labels_pil(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) to (height, width) by PIL's nearest, which looks at the middles of pixels."""
    return np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))


def take_pixels(labels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the pixels of a label map (h, w) in these rows and columns."""
    return labels.take(rows, axis=0).take(columns, axis=1)


def way_labels(labels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Turn label values into way slots: the n-th of `classes` becomes n (from 1), other values 0; void stays 255."""
    slots = np.zeros(256, dtype=np.uint8)
    slots[list(classes)] = np.arange(1, len(classes) + 1)
    slots[VOID] = VOID
    if labels.dtype != np.uint8:
        return slots.take(labels)
    named = bytearray(labels.tobytes()).translate(slots.tobytes())  # a fifth of the time of numpy's take
    return np.frombuffer(named, dtype=np.uint8).reshape(labels.shape)


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

BoxOf = Callable[[str, int, np.ndarray], Box | None]
"""Gives the box of a support by its name, the number of its class, and its mask (H, W)."""


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
