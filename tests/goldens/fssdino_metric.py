"""Confusion matrix over classes and the scores that FSSDINO's authors take from it (fssdino.md §4).

They are other scores than HSNet's of the same names: FB-IoU averages the IoU of classes, and a class that was never
seen counts as 0.
"""

import numpy as np


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels (classes, classes) int64, a row for each true class, background included.

    Args:
        truth, predicted: integers of one shape, 0 to classes − 1.
        classes: number of classes with the background.
    """
    pairs = truth.astype(np.int64).ravel() * classes + predicted.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Return the IoU (classes,) float64 of each class, 0 where it was neither there nor predicted."""
    hits = np.diag(confusion).astype(np.float64)
    unions = confusion.sum(0) + confusion.sum(1) - hits
    return np.divide(hits, unions, out=np.zeros_like(hits), where=unions > 0)


def class_mean_iou(confusion: np.ndarray) -> float:
    """Return the mean IoU over all classes but the background, in per cent."""
    return float(100 * class_iou(confusion)[1:].mean())


def class_fb_iou(confusion: np.ndarray) -> float:
    """Return the mean of the classes' mean IoU and the background's IoU, in per cent."""
    scores = class_iou(confusion)
    return float(50 * (scores[1:].mean() + scores[0]))


def episode_mean_iou(truth: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Return the mean IoU of one episode over the classes that are there or predicted, background aside; 0 for none."""
    confusion = confusion_matrix(truth, predicted, classes)
    hits = np.diag(confusion)[1:].astype(np.float64)
    unions = (confusion.sum(0) + confusion.sum(1))[1:] - hits
    seen = unions > 0
    return float((hits[seen] / (unions[seen] + 1e-6)).mean()) if seen.any() else 0.0
