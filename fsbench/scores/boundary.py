"""Boundary IoU: the IoU of the pixels near the edges of prediction and truth (Cheng et al., CVPR 2021)."""

import numpy as np

from fsbench.data.dataset import VOID
from fsbench.scores.confusion import void_rule

DILATION_RATIO = 0.02
"""Distance from the edge, as a share of the image's diagonal (§4)."""


def boundary_distance(height: int, width: int) -> int:
    """Return the distance in pixels up to which a pixel counts as near the edge; at least 1."""
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


def boundary_counts(prediction: np.ndarray, truth: np.ndarray, ways: int, void: str) -> np.ndarray:
    """Count intersection and union of the inner boundaries of each way: (ways + 1, 2) int64, slot 0 any foreground.

    Args:
        prediction: (h, w) integers in 0..ways.
        truth: (h, w) integers in 0..ways, or 255 for void.
        ways: number of ways N.
        void: rule of `VOID_RULES`; pixels that do not count are left out after boundaries are drawn.
    """
    distance = boundary_distance(*truth.shape)
    counted = void_rule(void).counted_pixels(truth)
    pairs = [(prediction > 0, (truth > 0) & (truth != VOID))]
    pairs += [(prediction == slot, truth == slot) for slot in range(1, ways + 1)]
    counts = np.zeros((ways + 1, 2), dtype=np.int64)
    for slot, (predicted, true) in enumerate(pairs):
        near, expected = inner_boundary(predicted, distance) & counted, inner_boundary(true, distance) & counted
        counts[slot] = np.count_nonzero(near & expected), np.count_nonzero(near | expected)
    return counts
