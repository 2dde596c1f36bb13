"""Expected calibration error: how far probabilities are from shares (Guo et al., ICML 2017), as sums over bins.

Probabilities are those of the way being there, so a bin compares their mean with the share of cases in which it was.
"""

import numpy as np

from fsbench.scores.confusion import VOID_RULES

BINS = 15
"""Bins of equal width over (0, 1], each with its upper end; 0 is in the first."""


def bin_index(probability: np.ndarray) -> np.ndarray:
    """Return the bin (...) of probabilities (...) from 0 to 1."""
    place = np.round(probability * BINS, 9)  # an end of a bin is in it, however it was rounded
    return np.clip(np.ceil(place).astype(np.int64) - 1, 0, BINS - 1)


def bin_sums(probability: np.ndarray, happened: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sum cases by bin: (BINS, 3) of weights, weighted probabilities, and weights of the cases that happened.

    Args:
        probability: (n,) from 0 to 1.
        happened: (n,) weight of a case that happened, at most `weight`.
        weight: (n,) of each case.
    """
    bins = bin_index(probability)
    columns = (weight, weight * probability, happened)
    return np.stack([np.bincount(bins, column, BINS) for column in columns], 1)


def calibration_error(totals: np.ndarray) -> np.ndarray:
    """Compute the expected calibration error in percent (...) from sums (..., BINS, 3)."""
    weight, probability, happened = np.moveaxis(totals, -1, 0)
    return 100 * np.abs(probability - happened).sum(-1) / np.maximum(weight.sum(-1), 1e-9)


def soft_mask_sums(soft: np.ndarray, truth: np.ndarray, slot: int, void: str) -> np.ndarray:
    """Sum the pixels of a soft mask by bin, see `bin_sums`: a cell's probability against the truth of its pixels.

    Args:
        soft: (s, s) uint8, 255 for certain; each cell the mean over its part of the image.
        truth: (h, w) integers, or 255 for void.
        slot: number of the way.
        void: rule of `VOID_RULES`; pixels that do not count are left out, void ones that do are not the way.
    """
    counted = VOID_RULES[void].counted_pixels(truth)
    weight, happened = (_cell_sums(mask, len(soft)) for mask in (counted, counted & (truth == slot)))
    return bin_sums(soft.ravel() / 255, happened.ravel(), weight.ravel())


def _cell_sums(mask: np.ndarray, side: int) -> np.ndarray:
    """Count the pixels of a mask (h, w) in each of (side, side) cells, whose edges are torch's adaptive pooling's."""
    whole = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    whole[1:, 1:] = mask.cumsum(0).cumsum(1)
    (top, bottom), (left, right) = (_edges(length, side) for length in mask.shape)
    below, above = whole[bottom], whole[top]
    return below[:, right] - below[:, left] - above[:, right] + above[:, left]


def _edges(length: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    number = np.arange(side)
    return number * length // side, -(-(number + 1) * length // side)
