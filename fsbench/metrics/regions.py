"""Region measures ROM and RUM: objects predicted in too many pieces, several objects predicted as one (dcama.md §12).

They need connected regions, which no count of pixels can tell; so they are measured while a run is evaluated.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

from fsbench.data.dataset import VOID

DENSE = 1 << 22
"""Pairs of regions up to which a table of all pairs is kept; a prediction of pure noise may have more."""


def region_measures(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Compute the region-wise over- and under-segmentation measures (ROM, RUM) of one class in one image.

    Args:
        prediction, truth: (h, w) bool.

    Regions are connected in 8 directions; two overlap when they share a pixel. Both measures are in [0, 1), 0 is best,
    and 0 where prediction or truth is empty.
    """
    predicted, in_prediction = _regions(prediction)
    true, in_truth = _regions(truth)
    if not predicted or not true:
        return 0.0, 0.0
    both = prediction & truth
    codes = (in_truth[both].astype(np.int64) - 1) * predicted + in_prediction[both] - 1
    few = true * predicted <= DENSE
    overlaps = np.flatnonzero(np.bincount(codes, minlength=1)) if few else np.unique(codes)
    of_truth, of_prediction = np.divmod(overlaps, predicted)
    return _measure(of_truth, of_prediction, true, predicted), _measure(of_prediction, of_truth, predicted, true)


def _regions(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the number of regions and the map (h, w) int32 of their numbers from 1; 0 outside."""
    number, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return number - 1, labels


def _measure(one: np.ndarray, other: np.ndarray, ones: int, others: int) -> float:
    """tanh(ratio x surplus) for overlapping pairs (one[i], other[i]): `ratio` is the share of the regions of both sides
    that are involved where a region of `one` has several partners; `surplus` counts partners beyond the first."""
    partners = np.bincount(one, minlength=ones)
    split = partners >= 2
    involved = len(np.unique(other[split[one]]))
    ratio = int(split.sum()) * involved / (ones * others)
    return float(np.tanh(ratio * np.maximum(partners - 1, 0).sum()))


def slot_regions(prediction: Tensor, truth: Tensor, ways: int) -> tuple[Tensor, Tensor]:
    """Compute ROM and RUM, each (ways + 1,) float32, of slot 0 (any foreground) and of the ways.

    Void pixels belong to no object; a prediction that covers some is not cut there, so that one that joins two objects
    across a void border counts as joining them.

    Args:
        prediction: (h, w) integers in 0..ways.
        truth: (h, w) integers in 0..ways, or 255 for void.
        ways: number of ways N.
    """
    predicted, true = prediction.cpu().numpy(), truth.cpu().numpy()
    true = np.where(true == VOID, 0, true)
    way_measures = [region_measures(predicted == slot, true == slot) for slot in range(1, ways + 1)]
    any_foreground = way_measures[0] if ways == 1 else region_measures(predicted > 0, true > 0)
    rom, rum = torch.tensor([any_foreground, *way_measures], dtype=torch.float32).T
    return rom, rum
