"""Columns of a count table, and scores as functions of summed counts.

It needs numpy alone, so that reading finished runs needs no torch.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.plugins import plug_in_part
from fsbench.data.dataset import VOID

COUNTS = ("tp", "pred", "gt", "pred_void", "void", "valid")
"""Columns of a count table: pixels that are the slot in both, in the prediction, in the truth (void pixels left out),
predicted as the slot on void pixels, void pixels, other pixels. The last two are the same in all slots."""


REGIONS = ("rom", "rum")
"""Columns of a count table that are no counts: region measures; a table that was counted again lacks them."""
FAILED = "failed"
"""Column of a count table, of runs with such episodes alone: the method could not answer, an empty mask counts."""


class VoidRule(ABC):
    """Rule by which void pixels (label 255), whose class is unknown, enter the pixel counts of a score.

    Attributes:
        words: a phrase that says what void pixels count as, and what this does to a score.
    """

    words: ClassVar[str]

    @abstractmethod
    def intersection_union(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute intersections and unions (...), in pixels, from counts (..., 6) of ways in the order of `COUNTS`."""

    @abstractmethod
    def background(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute intersections and unions (...) of the background from counts (..., 6) of slot 0 (any foreground)."""

    @abstractmethod
    def pixels(self, counts: np.ndarray) -> np.ndarray:
        """Return the number of counted pixels (...) of an image from counts (..., 6) of any slot."""

    @abstractmethod
    def counted_pixels(self, truth: np.ndarray) -> np.ndarray:
        """Return (h, w) bool: which pixels of a true label map (h, w) are counted, by whether they are void."""


class VoidIgnored(VoidRule):
    """Rule: void pixels are ignored in prediction and truth."""

    words = "left out: the uncertain border band costs nothing, worth points on PASCAL; COCO has no void"

    def intersection_union(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hits, predicted, true = (counts[..., i] for i in range(3))
        return hits, predicted + true - hits

    def background(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hits, predicted, true, valid = (counts[..., i] for i in (0, 1, 2, 5))
        return valid - (predicted + true - hits), valid - hits

    def pixels(self, counts: np.ndarray) -> np.ndarray:
        return np.asarray(counts[..., 5])

    def counted_pixels(self, truth: np.ndarray) -> np.ndarray:
        return np.asarray(truth != VOID)


class VoidIsBackground(VoidRule):
    """Rule: void pixels are background, so that predictions there count as false positives."""

    words = "background: predicting the object's border band costs IoU"

    def intersection_union(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hits, predicted, true, predicted_on_void = (counts[..., i] for i in range(4))
        return hits, predicted + true - hits + predicted_on_void

    def background(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hits, predicted, true, predicted_on_void, void, valid = (counts[..., i] for i in range(6))
        return valid + void - (predicted + predicted_on_void + true - hits), valid + void - hits

    def pixels(self, counts: np.ndarray) -> np.ndarray:
        return np.asarray(counts[..., 4] + counts[..., 5])

    def counted_pixels(self, truth: np.ndarray) -> np.ndarray:
        return np.ones(truth.shape, dtype=bool)


class PresentOnly(VoidIgnored):
    """Rule: void pixels are ignored, and a class (or the background) counts only in queries that show it.

    Predicting a class in a query that does not show it costs nothing. PANet and PPNet count this way (atlas-runs.md
    §9).
    """

    words = (
        "left out, and so is what is predicted of a class, or of the background, that the truth lacks as it is "
        "compared: there is no false alarm"
    )

    def intersection_union(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _where(counts[..., 2] > 0, super().intersection_union(counts))

    def background(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _where(counts[..., 5] > counts[..., 2], super().background(counts))


def _where(there: np.ndarray, sums: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return intersections and unions (...) with 0 where not `there` (...)."""
    intersection, union = sums
    return np.where(there, intersection, 0), np.where(there, union, 0)


VOID_RULES: dict[str, VoidRule] = {"background": VoidIsBackground(), "ignore": VoidIgnored(), "present": PresentOnly()}
"""Rules by the names that protocols choose them by."""


def void_rule(name: str) -> VoidRule:
    """Return the rule for void pixels called `name`, from fsbench or an installed package.

    Raises SettingsError if there is none.
    """
    found = VOID_RULES.get(name) or plug_in_part(name, VoidRule)
    if found is None:
        raise SettingsError(f"void is '{name}', of which there is no rule{known_names(name, tuple(VOID_RULES))}")
    return found


def intersection_union(counts: np.ndarray, void: str) -> tuple[np.ndarray, np.ndarray]:
    """Compute intersections and unions (...) in pixels from counts (..., 6) of ways by the void rule named `void`."""
    return void_rule(void).intersection_union(counts)


def way_ious(counts: np.ndarray, void: str) -> list[float | None]:
    """Compute the IoU, from 0 to 1, of each of an episode's N ways from their counts (N, 6).

    An IoU is None where the query does not show the class and no pixel was predicted as it.
    """
    pairs = zip(*(values.tolist() for values in intersection_union(counts, void)), strict=True)
    return [intersection / union if union else None for intersection, union in pairs]


def background_intersection_union(counts: np.ndarray, void: str) -> tuple[np.ndarray, np.ndarray]:
    """Compute the background's intersections and unions (...) in pixels from counts (..., 6) of any foreground."""
    return void_rule(void).background(counts)


def mean_iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Compute the mIoU in percent (...) from intersections and unions summed by class (..., C).

    A class without pixels counts as 0.
    """
    return 100 * (intersection / np.maximum(union, 1)).mean(-1)


def class_accuracy(right: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Compute the mean class accuracy in percent (...) from numbers of correct and of all presence decisions (..., C).

    It is the mean over the classes with decisions. An error rate is 100 minus an accuracy.
    """
    decided = (total > 0).sum(-1)
    return 100 * (right / np.maximum(total, 1)).sum(-1) / np.maximum(decided, 1)


def pixel_accuracy(intersection: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the mean class pixel accuracy in percent (...) from true positive and true pixels by class (..., C).

    PFENet's programs print it beside the mIoU. A class without pixels counts as 0.
    """
    return mean_iou(intersection, truth)


def fb_iou(intersection: np.ndarray, union: np.ndarray, background: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Compute the FB-IoU in percent (...): the mean of the IoU of all classes together and the background's IoU.

    Args:
        intersection, union: (..., C) pixels, summed by class.
        background: intersection and union (...) of the background.
    """
    foreground = intersection.sum(-1) / np.maximum(union.sum(-1), 1)
    return 50 * (foreground + background[0] / np.maximum(background[1], 1))
