"""Maps of errors: where a prediction misses, invents or confuses a way."""

import numpy as np

from fsbench.data.dataset import VOID
from fsbench.data.label_maps import resize_labels

HIT, ALARM, MISSED, OTHER = 1, 2, 3, 4
"""Kinds of pixels: right foreground, false alarm, missed foreground, foreground of another way."""


def error_map(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the kind of error of every pixel, (h, w) uint8.

    It is 0 for correct background, `HIT`, `ALARM` (background predicted as a way), `MISSED` (a way predicted as
    background), `OTHER` (a way predicted as another way), or 255 for void.

    Args:
        prediction: Label map (h, w): 0 background, 1..N ways.
        truth: Label map of any size with the same labels and 255 for void; it is resized to the prediction's size.
    """
    truth = resize_labels(truth, *prediction.shape)
    kinds = np.zeros(prediction.shape, dtype=np.uint8)
    kinds[(prediction > 0) & (truth == prediction)] = HIT
    kinds[(prediction > 0) & (truth == 0)] = ALARM
    kinds[(prediction == 0) & (truth > 0)] = MISSED
    kinds[(prediction > 0) & (truth > 0) & (truth != prediction)] = OTHER
    kinds[truth == VOID] = VOID
    return kinds
