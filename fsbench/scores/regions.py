"""Region measures ROM and RUM: objects predicted in too many pieces, several objects predicted as one (dcama.md §12).

They need connected regions, which no count of pixels can tell; so they are measured while a run is evaluated.
"""

import numpy as np

from fsbench.data.connected import Regions, runs
from fsbench.data.dataset import VOID

DENSE = 1 << 22
"""Pairs of regions up to which a table of all pairs is kept; a prediction of pure noise may have more."""


def region_measures(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Compute the region-wise over- and under-segmentation measures (ROM, RUM) of one class in one image.

    Regions are connected in 8 directions; two overlap when they share a pixel.

    Args:
        prediction, truth: (h, w) bool masks of the class.

    Returns:
        (ROM, RUM), each in [0, 1); 0 is best, and the value if prediction or truth is empty.
    """
    if not prediction.any() or not truth.any():
        return 0.0, 0.0
    predicted, true = Regions.of(prediction), Regions.of(truth)
    both, _ = runs(prediction & truth)  # each run of these is part of one run of either
    codes = true.at(both) * predicted.number + predicted.at(both)
    few = true.number * predicted.number <= DENSE
    overlaps = np.flatnonzero(np.bincount(codes, minlength=1)) if few else np.unique(codes)
    of_truth, of_prediction = np.divmod(overlaps, predicted.number)
    return (
        _measure(of_truth, of_prediction, true.number, predicted.number),
        _measure(of_prediction, of_truth, predicted.number, true.number),
    )


def _measure(one: np.ndarray, other: np.ndarray, ones: int, others: int) -> float:
    """tanh(ratio x surplus) for overlapping pairs (one[i], other[i]): `ratio` is the share of the regions of both sides
    that are involved where a region of `one` has several partners; `surplus` counts partners beyond the first."""
    partners = np.bincount(one, minlength=ones)
    split = partners >= 2
    involved = len(np.unique(other[split[one]]))
    ratio = int(split.sum()) * involved / (ones * others)
    return float(np.tanh(ratio * np.maximum(partners - 1, 0).sum()))


def slot_regions(prediction: np.ndarray, truth: np.ndarray, ways: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute region-wise over- and under-segmentation (ROM, RUM) of any foreground (index 0) and of each way.

    Void pixels belong to no object. A predicted region is not cut at void pixels, so that one that joins two objects
    across a void border counts as joining them.

    Args:
        prediction: (h, w) integers in 0..ways.
        truth: (h, w) integers in 0..ways, or 255 for void.
        ways: number of ways N.

    Returns:
        (ROM, RUM), each (N + 1,), from 0 (best) to below 1.
    """
    true = np.where(truth == VOID, 0, truth)
    way_measures = [region_measures(prediction == slot, true == slot) for slot in range(1, ways + 1)]
    any_foreground = way_measures[0] if ways == 1 else region_measures(prediction > 0, true > 0)
    rom, rum = np.array([any_foreground, *way_measures], dtype=np.float32).T
    return rom, rum
