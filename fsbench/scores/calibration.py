"""Calibration: how far probabilities are from shares, as sums over bins.

Probabilities are those of the way being there, so a bin compares their mean with the share of cases in which it was.
The expected calibration error (Guo et al., ICML 2017) is never 0, even of a calibrated method, and grows as rows
become fewer. The debiased squared error (after Kumar et al., NeurIPS 2019) is 0 on average for a calibrated method.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from fsbench.scores.confusion import void_rule

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
    """Compute the expected calibration error in percent (...) from sums (..., BINS, 3); NaN without cases."""
    weight, probability, happened = np.moveaxis(totals, -1, 0)
    size = weight.sum(-1)
    return np.where(size > 0, 100 * np.abs(probability - happened).sum(-1) / np.where(size > 0, size, 1), np.nan)


@dataclass(frozen=True, eq=False)
class BinnedErrors:
    """Errors of rows by bin, for products of different query images alone (statistics spec §6).

    Attributes:
        errors: (n, BINS) sum of weight times probability, minus what happened.
        weights: (n, BINS).
        query: (n,) number of each row's query image.
    """

    errors: np.ndarray
    weights: np.ndarray
    query: np.ndarray

    of_episodes: ClassVar[bool] = False

    @classmethod
    def from_sums(cls, sums: np.ndarray, query: np.ndarray) -> "BinnedErrors":
        """Return the errors of rows' sums (n, BINS, 3), see `bin_sums`."""
        weight, probability, happened = np.moveaxis(sums.astype(float), -1, 0)
        return cls(probability - happened, weight, query)

    def take(self, rows: np.ndarray) -> "BinnedErrors":
        """Return some of the rows, by their places or as a mask."""
        return replace(self, errors=self.errors[rows], weights=self.weights[rows], query=self.query[rows])

    def total(self) -> np.ndarray:
        """Return the weights, and products A and B of different images, of each bin: (1, BINS, 3)."""
        _, errors, weights = self._by_image()
        squares = [np.square(sums.sum(0)) - np.square(sums).sum(0) for sums in (errors, weights)]
        return np.stack([self.weights.sum(0), *squares], 1)[None]

    def influences(self) -> np.ndarray:
        """Return the influence (n,) of each row on the squared error in squared percent."""
        weight, a, b = self.total()[0].T
        known = b > 0
        size, divisor = weight[known].sum(), np.where(known, b, 1)
        if not known.any():
            return np.zeros(len(self.query))
        mean = a / divisor
        value = (weight * mean)[known].sum() / size
        image, errors, weights = self._by_image()
        others = errors.sum(0) - errors[image], weights.sum(0) - weights[image]
        slope = 2 * (others[0] * self.errors - mean * others[1] * self.weights) / divisor
        own = (mean - value) * self.weights + weight * slope
        return np.asarray(1e4 * own[:, known].sum(1) / size)

    def _by_image(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each row's image (n,), and the sums of errors and of weights by image (G, BINS)."""
        images, image = np.unique(self.query, return_inverse=True)
        order = np.argsort(image, kind="stable")
        starts = np.searchsorted(image[order], np.arange(len(images)))
        errors, weights = (np.add.reduceat(values[order], starts, 0) for values in (self.errors, self.weights))
        return image, errors, weights


def squared_error(totals: np.ndarray) -> np.ndarray:
    """Compute the debiased squared calibration error in squared percent (R,) from totals (R, BINS, 3).

    NaN where no bin has rows of two query images.
    """
    weight, a, b = np.moveaxis(totals, -1, 0)
    known = b > 0
    size = np.where(known, weight, 0).sum(-1)
    mean = (np.where(known, weight, 0) * a / np.where(known, b, 1)).sum(-1)
    return np.where(size > 0, 1e4 * mean / np.where(size > 0, size, 1), np.nan)


def soft_mask_sums(soft: np.ndarray, truth: np.ndarray, slot: int, void: str) -> np.ndarray:
    """Sum the pixels of a soft mask by bin, see `bin_sums`: a cell's probability against the truth of its pixels.

    Args:
        soft: (s, s) uint8, 255 for certain; each cell the mean over its part of the image.
        truth: (h, w) integers, or 255 for void.
        slot: number of the way.
        void: rule of `VOID_RULES`; pixels that do not count are left out, void ones that do are not the way.
    """
    counted = void_rule(void).counted_pixels(truth)
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
