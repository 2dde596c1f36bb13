"""Maps of errors: where a prediction misses, invents or confuses a way."""

import numpy as np

from fsbench.data.dataset import VOID
from fsbench.data.label_maps import resize_labels

HIT, ALARM, MISSED, OTHER = 1, 2, 3, 4
"""Kinds of pixels: right foreground, false alarm, missed foreground, foreground of another way."""


def error_map(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the kind of error of every pixel (h, w): 0 right background, void 255.

    Args:
        prediction: Label map (h, w) in way slots.
        truth: Label map in way slots, of any size; it is resized to the prediction's.
    """
    truth = resize_labels(truth, *prediction.shape)
    kinds = np.zeros(prediction.shape, dtype=np.uint8)
    kinds[(prediction > 0) & (truth == prediction)] = HIT
    kinds[(prediction > 0) & (truth == 0)] = ALARM
    kinds[(prediction == 0) & (truth > 0)] = MISSED
    kinds[(prediction > 0) & (truth > 0) & (truth != prediction)] = OTHER
    kinds[truth == VOID] = VOID
    return kinds
