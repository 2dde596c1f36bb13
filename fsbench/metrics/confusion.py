"""Columns of a count table, and scores as functions of summed counts.

It needs numpy alone, so that reading finished runs needs no torch.
"""

import numpy as np

from fsbench.data.dataset import VoidPolicy

COUNTS = ("tp", "pred", "gt", "pred_void", "void", "valid")
"""Columns of a count table: pixels that are the slot in both, in the prediction, in the truth (void pixels left out),
predicted as the slot on void pixels, void pixels, other pixels. The last two are the same in all slots."""


REGIONS = ("rom", "rum")
"""Columns of a count table that are no counts: region measures; older records lack them."""


def intersection_union(counts: np.ndarray, void: VoidPolicy) -> tuple[np.ndarray, np.ndarray]:
    """Compute intersections and unions (...) from counts (..., 6) of way slots."""
    tp, pred, gt, pred_void = (counts[..., i] for i in range(4))
    return tp, pred + gt - tp + (pred_void if void == "background" else 0)


def way_ious(counts: np.ndarray, void: VoidPolicy) -> list[float | None]:
    """Compute the IoU, from 0 to 1, of an episode's ways from their counts (N, 6).

    It is None where there is nothing to find and nothing was predicted.
    """
    pairs = zip(*(values.tolist() for values in intersection_union(counts, void)), strict=True)
    return [intersection / union if union else None for intersection, union in pairs]


def background_intersection_union(counts: np.ndarray, void: VoidPolicy) -> tuple[np.ndarray, np.ndarray]:
    """Compute intersections and unions (...) of the background from counts (..., 6) of slot 0 (any foreground)."""
    tp, pred, gt, pred_void, void_pixels, valid = (counts[..., i] for i in range(6))
    if void == "background":
        pred, valid = pred + pred_void, valid + void_pixels
    return valid - (pred + gt - tp), valid - tp


def mean_iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Compute the mIoU in percent (...) from class sums (..., C). A class without pixels counts as 0."""
    return 100 * (intersection / np.maximum(union, 1)).mean(-1)


def class_accuracy(right: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Compute the per-class accuracy in percent (...) from right and all presence decisions by class (..., C).

    It is the mean over the classes that were asked about. An error rate is 100 minus an accuracy.
    """
    decided = (total > 0).sum(-1)
    return 100 * (right / np.maximum(total, 1)).sum(-1) / np.maximum(decided, 1)


def pixel_accuracy(intersection: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the mean class pixel accuracy in percent (...) from sums (..., C) of hits and of the truth's pixels.

    PFENet's programs print it beside the mIoU. A class without pixels counts as 0.
    """
    return mean_iou(intersection, truth)


def fb_iou(intersection: np.ndarray, union: np.ndarray, background: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Compute the FB-IoU in percent (...) from class sums (..., C) and the background's sums (...).

    It is the mean of the IoU of all classes taken together and the IoU of the background (fscs-protocol §7).
    """
    foreground = intersection.sum(-1) / np.maximum(union.sum(-1), 1)
    return 50 * (foreground + background[0] / np.maximum(background[1], 1))
