"""Regions of an image, a color each."""

import cv2
import numpy as np

from fsbench.data.label_maps import resize_labels
from fsbench.results.pictures.masks import gray
from fsbench.results.pictures.palette import DARK_LINE, WAY_COLORS

COLORS = np.concatenate([WAY_COLORS, WAY_COLORS // 3])
"""Colors by the rank of a region: light ones, then dark ones; more regions than colors begin again."""


def paint_regions(image: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Return an image in gray with regions drawn in half transparent colors, with dark lines between them.

    Args:
        image: (H, W, 3) uint8.
        regions: (h, w) region numbers of any size, resized to the image's; the largest region gets the first color.
    """
    numbers, places, sizes = np.unique(regions, return_inverse=True, return_counts=True)
    ranks = np.empty(len(numbers), dtype=np.int64)
    ranks[np.argsort(-sizes, kind="stable")] = np.arange(len(numbers))
    colored = (ranks % len(COLORS)).astype(np.uint8)[places].reshape(regions.shape)
    full = resize_labels(colored, *image.shape[:2])
    painted = (COLORS[full] // 2 + gray(image) // 2).astype(np.uint8)
    ranks_shown = resize_labels(ranks.astype(np.float64)[places].reshape(regions.shape), *image.shape[:2])
    corner = np.ones((2, 2), dtype=np.uint8)  # a line of one pixel
    painted[cv2.erode(ranks_shown, corner) != ranks_shown] = DARK_LINE
    return painted
