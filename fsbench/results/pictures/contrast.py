"""The color of a mask by what it lies on."""

import cv2
import numpy as np

from fsbench.data.label_maps import resize_labels, resize_labels_cv2
from fsbench.results.pictures.palette import WAY_COLORS

SIDE = 96
"""Longer side in pixels at which an image is looked at."""


def way_colors(pixels: np.ndarray, slots: np.ndarray, ways: int) -> np.ndarray:
    """Return the colors (n, 3) uint8 of an image's ways, from way 1.

    Several ways get the fixed colors of the palette. A single way gets the palette color that differs most from both
    its object and the whole image, by mean distance in CIELAB.

    Args:
        pixels: (H, W, 3) uint8, the image.
        slots: (h, w), of any size, 1 where the object is; without any object only the image is considered.
        ways: Number of the episode's ways.
    """
    if ways > 1:
        return WAY_COLORS
    scale = min(1.0, SIDE / max(pixels.shape[:2]))
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    small = resize_labels_cv2(pixels, height, width)
    distances = np.linalg.norm(_lab(small)[:, :, None] - _lab(WAY_COLORS[None]), axis=-1)
    inside = resize_labels(np.asarray(slots, dtype=np.uint8), height, width) == 1
    grounds = [distances[inside], distances] if inside.any() else [distances]
    least = np.min([ground.reshape(-1, len(WAY_COLORS)).mean(0) for ground in grounds], axis=0)
    return WAY_COLORS[[int(least.argmax())]]


def _lab(pixels: np.ndarray) -> np.ndarray:
    """Convert RGB (H, W, 3) uint8 to CIELAB, float32."""
    return np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
