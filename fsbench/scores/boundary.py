"""Boundary IoU: the IoU of the pixels near the edges of prediction and truth (Cheng et al., CVPR 2021)."""

import numpy as np

from fsbench.scores.confusion import mean_iou
from fsbench.scores.metric import Metric, Totals, over_shown_classes
from fsbench.scores.sums import TRUTH, Pixels, PixelSum

DILATION_RATIO = 0.02
"""Distance from the edge, as a share of the image's diagonal (§4)."""


def boundary_distance(height: int, width: int) -> int:
    """Return how many pixels from the edge count as boundary in an image of this size; at least 1."""
    return max(1, round(DILATION_RATIO * float(np.hypot(height, width))))


def inner_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """Return the pixels of a mask (h, w) bool within `distance` of its edge, in rows and columns alike (Chebyshev).

    The border of the image is an edge.
    """
    inside, size, window = np.pad(mask, distance), 1, 2 * distance + 1
    while size < window:  # a square of `size` pixels from here on to the right and below is in the mask
        step = min(size, window - size)
        inside = inside[:-step] & inside[step:]
        inside = inside[:, :-step] & inside[:, step:]
        size += step
    return mask & ~inside


def boundary_counts(pixels: Pixels) -> np.ndarray:
    """Count intersection and union of the inner boundaries of each way: (N + 1, 2) int64; slot 0 is any foreground.

    Void pixels that the test ignores are left out after boundaries are drawn.
    """
    distance = boundary_distance(*pixels.truth.shape)
    counts = np.zeros((pixels.ways + 1, 2), dtype=np.int64)
    for slot, masks in enumerate(pixels.masks()):
        near, expected = (inner_boundary(mask, distance) & pixels.counted for mask in masks)
        counts[slot] = np.count_nonzero(near & expected), np.count_nonzero(near | expected)
    return counts


BOUNDARY = PixelSum("boundary", boundary_counts)
"""(C, 2) intersection and union of the boundaries of the ways."""


class BoundaryIoU(Metric):
    name = "boundary-IoU"
    meaning = (
        "mIoU of the pixels near edges alone, up to 2 % of the image's diagonal inside prediction and truth "
        "(Cheng et al. 2021); from stored predictions and the data"
    )
    sums = (BOUNDARY, TRUTH)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        intersection, union = np.moveaxis(totals["boundary"], -1, 0)
        return over_shown_classes(mean_iou(intersection, union), totals, run, union)
