"""Calibration: how far probabilities are from shares, as sums over bins.

Probabilities are those of the way being there, so a bin compares their mean with the share of cases in which it was.
The expected calibration error (Guo et al., ICML 2017) is never 0, even of a calibrated method, and grows as rows
become fewer. The debiased squared error (after Kumar et al., NeurIPS 2019) is 0 on average for a calibrated method.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fsbench.scores.metric import Metric, Totals
from fsbench.scores.rows import RowValues
from fsbench.scores.sums import Pixels, PixelSum, ScoreSum, by_pair

if TYPE_CHECKING:
    from fsbench.scores.count_table import CountTable

BINS = 15
"""Bins of equal width over (0, 1], each with its upper end; 0 is in the first."""


def bin_index(probability: np.ndarray) -> np.ndarray:
    """Return the number of the calibration bin, from 0, for each probability (...) from 0 to 1."""
    place = np.round(probability * BINS, 9)  # an end of a bin is in it, however it was rounded
    return np.clip(np.ceil(place).astype(np.int64) - 1, 0, BINS - 1)


def bin_sums(probability: np.ndarray, happened: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sum cases by bin of predicted probability: (BINS, 3) weights, weighted probabilities, and weights that came true.

    Args:
        probability: (n,) predicted probability of each case, from 0 to 1.
        happened: (n,) the part of each case's weight for which the prediction came true, from 0 to `weight`.
        weight: (n,) weight of each case.
    """
    bins = bin_index(probability)
    columns = (weight, weight * probability, happened)
    return np.stack([np.bincount(bins, column, BINS) for column in columns], 1)


def calibration_error(totals: np.ndarray) -> np.ndarray:
    """Compute the expected calibration error in percent (...) from sums (..., BINS, 3) of `bin_sums`.

    It is NaN without cases.
    """
    weight, probability, happened = np.moveaxis(totals, -1, 0)
    size = weight.sum(-1)
    return np.where(size > 0, 100 * np.abs(probability - happened).sum(-1) / np.where(size > 0, size, 1), np.nan)


@dataclass(frozen=True, eq=False)
class BinnedErrors:
    """Calibration errors of (episode, way) rows by bin, for the debiased squared calibration error (statistics §6).

    That error multiplies only errors of different query images, so that noise within an image does not add to it.

    Attributes:
        errors: (n, BINS): for each (episode, way) row and bin the sum over the row's cases of weight times probability,
            minus the weight of the cases that came true.
        weights: (n, BINS): for each row and bin the sum of the weights of its cases.
        query: (n,) number of each row's query image.
    """

    errors: np.ndarray
    weights: np.ndarray
    query: np.ndarray

    of_episodes: ClassVar[bool] = False

    @classmethod
    def from_sums(cls, sums: np.ndarray, query: np.ndarray) -> "BinnedErrors":
        """Return errors of rows from their sums (n, BINS, 3) of `bin_sums` and query image numbers (n,)."""
        weight, probability, happened = np.moveaxis(sums.astype(float), -1, 0)
        return cls(probability - happened, weight, query)

    def take(self, rows: np.ndarray) -> "BinnedErrors":
        """Return the errors of some rows; `rows` holds their positions, or is a mask (n,) bool."""
        return replace(self, errors=self.errors[rows], weights=self.weights[rows], query=self.query[rows])

    def total(self) -> np.ndarray:
        """Return (1, BINS, 3): each bin's weight, and sums A of products of errors and B of products of weights.

        The products are over pairs of different query images; A / B is the bin's debiased squared calibration error.
        """
        _, errors, weights = self._by_image()
        squares = [np.square(sums.sum(0)) - np.square(sums).sum(0) for sums in (errors, weights)]
        return np.stack([self.weights.sum(0), *squares], 1)[None]

    def influences(self) -> np.ndarray:
        """Return the influence (n,) of each row on the squared calibration error, in squared percent."""
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
    """Compute the debiased squared calibration error in squared percent (R,) from `BinnedErrors.total` (R, BINS, 3).

    NaN where no bin has rows of two query images.
    """
    weight, a, b = np.moveaxis(totals, -1, 0)
    known = b > 0
    size = np.where(known, weight, 0).sum(-1)
    mean = (np.where(known, weight, 0) * a / np.where(known, b, 1)).sum(-1)
    return np.where(size > 0, 1e4 * mean / np.where(size > 0, size, 1), np.nan)


def presence_sums(score: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Sort rows into calibration bins by their presence scores: (R, BINS, 3) as in `bin_sums`, each row with weight 1.

    Args:
        score: (R,) presence scores from 0 to 1.
        present: (R,) bool, whether the query shows the class.
    """
    sums = np.zeros((len(score), BINS, 3))
    sums[np.arange(len(score)), bin_index(score)] = np.stack([np.ones(len(score)), score, present], 1)
    return sums


def soft_mask_sums(pixels: Pixels) -> np.ndarray:
    """Sum the pixels of each way's soft mask by calibration bin: (N + 1, BINS, 3) as in `bin_sums`; slot 0 stays 0.

    In each cell of the soft mask's grid the probability is compared with the pixels of the true mask in that cell. Void
    pixels are left out if the test ignores them, else they count as not showing the class.
    """
    sums = np.zeros((pixels.ways + 1, BINS, 3))
    for slot, soft in enumerate(() if pixels.soft is None else pixels.soft, 1):
        shown = pixels.counted & (pixels.truth == slot)
        weight, happened = (_cell_sums(mask, len(soft)) for mask in (pixels.counted, shown))
        sums[slot] = bin_sums(soft.ravel() / 255, happened.ravel(), weight.ravel())
    return sums


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


def binned_errors(table: "CountTable", rows: np.ndarray) -> BinnedErrors:
    """Turn the sums by calibration bin (R, BINS, 3) of a count table into errors of its (episode, way) pairs."""
    return BinnedErrors.from_sums(rows[table.pairs], table.pair_rows.query)


PRESENCE_BINS = ScoreSum("presence_bins", presence_sums, by_pair)
"""(bins, 3) sums of presence scores, see `bin_sums`."""
PRESENCE_ERRORS = ScoreSum("presence_errors", presence_sums, binned_errors)
"""Errors of presence scores, see `BinnedErrors`."""
PIXEL_BINS = PixelSum("pixel_bins", soft_mask_sums, by_pair, needs_soft=True)
"""(bins, 3) sums of probabilities in soft masks."""
PIXEL_ERRORS = PixelSum("pixel_errors", soft_mask_sums, binned_errors, needs_soft=True)
"""Errors of soft masks."""


class PresenceECE(Metric):
    name = "presence-ECE"
    meaning = (
        "expected calibration error of presence scores, 15 bins: mean score and share present, of (episode, way) "
        "pairs; of methods that score presence"
    )
    sums = (PRESENCE_BINS,)
    higher_is_better = False
    has_interval = False
    beside = "presence-CE2"

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return calibration_error(totals["presence_bins"])


class PixelECE(Metric):
    name = "pixel-ECE"
    meaning = (
        "expected calibration error of soft masks, 15 bins: a way's mean probability in each of 64 x 64 cells and the "
        "share of its pixels that show the way; from stored soft masks and the data"
    )
    sums = (PIXEL_BINS,)
    higher_is_better = False
    has_interval = False
    beside = "pixel-CE2"

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return calibration_error(totals["pixel_bins"])


class _SquaredError(Metric):
    """A debiased squared calibration error, in squared points; what chance takes below 0 stays there."""

    higher_is_better = False
    minimum = -1e4
    maximum = 1e4
    is_squared_error = True

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return squared_error(totals[self.sums[0].name])

    def row_influences(self, sums: Mapping[str, RowValues]) -> np.ndarray | None:
        errors = sums[self.sums[0].name]
        return errors.influences() if isinstance(errors, BinnedErrors) else None


class PresenceCalibration(_SquaredError):
    name = "presence-CE2"
    meaning = (
        "squared calibration error of presence scores in squared points, 15 bins, products of different query images "
        "alone: 0 on average of a calibrated method (after Kumar et al. 2019)"
    )
    sums = (PRESENCE_ERRORS,)


class PixelCalibration(_SquaredError):
    name = "pixel-CE2"
    meaning = "squared calibration error of soft masks, as presence-CE2; from stored soft masks and the data"
    sums = (PIXEL_ERRORS,)
