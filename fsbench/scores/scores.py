"""The scores of tests of masks that follow from counts, and the list of those that most tests have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fsbench.scores.boundary import BoundaryIoU
from fsbench.scores.calibration import PixelCalibration, PixelECE, PresenceCalibration, PresenceECE
from fsbench.scores.confusion import class_accuracy, fb_iou, mean_iou, pixel_accuracy
from fsbench.scores.metric import Metric, Sum, Totals, over_shown_classes
from fsbench.scores.sums import BACKGROUND, DECISIONS, FOREGROUND, INTERSECTION, REGION_MEASURES, RIGHT, TRUTH, UNION

Absent = Literal["zero", "left_out", "nan"]
"""Rules for a class that no query of a test shows: it counts as 0, is left out of means, or there is no mean."""


@dataclass(frozen=True)
class MeanIoU(Metric):
    """mIoU over the classes of the test.

    Attributes:
        absent: what a class that no query of the run shows is in the mean over classes: "zero", "left_out", or "nan",
            with which that mean and the mean over folds are NaN, as in programs that divide 0 by 0.
    """

    absent: Absent = "zero"

    name = "mIoU"
    meaning = "mean over the classes of summed intersections / summed unions, background not included"
    sums: ClassVar[tuple[Sum, ...]] = (INTERSECTION, UNION, TRUTH)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        if self.absent == "left_out" and run is not None:
            shown = run["truth"][0] > 0
            totals, run = ({name: one[name][:, shown] for name in ("intersection", "union", "truth")}
                           for one in (totals, run))  # fmt: skip
        union = totals["union"]
        if not union.shape[1]:
            return np.full(len(union), np.nan)
        mean = over_shown_classes(mean_iou(totals["intersection"], union), totals, run, union)
        lacking = self.absent == "nan" and run is not None and not (run["truth"] > 0).all()
        return np.full_like(mean, np.nan) if lacking else mean

    def is_defined(self, values: np.ndarray) -> bool:
        return bool(np.isfinite(values).all()) if self.absent == "nan" else super().is_defined(values)


@dataclass(frozen=True)
class MeanIoUByDraw(MeanIoU):
    """Mean over draws of the mIoU over the classes that queries show (fixed-supports.md §9).

    Attributes:
        absent: what a class that no query of the run shows is in the mean over classes, see `MeanIoU`.
    """

    absent: Absent = "left_out"

    name = "mIoU-by-draw"
    meaning = "mean over the draws of a support set of the mIoU over the classes, background not included"
    by_run = True


class MeanIoUWithBackground(MeanIoU):
    name = "mIoU+background"
    meaning = "mean of the IoU of all classes and the background, each of equal weight (fixed-supports.md §5)"
    sums = (*MeanIoU.sums, BACKGROUND)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        left_out = self.absent == "left_out" and run is not None
        classes = int((run["truth"] > 0).sum()) if left_out and run is not None else totals["union"].shape[-1]
        intersection, union = totals["background"].T
        mean = (classes * super().compute(totals, run) + 100 * intersection / np.maximum(union, 1)) / (classes + 1)
        return over_shown_sides(mean, totals, run, lambda sums: sums["background"][:, 1:])


def over_shown_sides(
    both: np.ndarray, totals: Totals, run: Totals | None, unions: Callable[[Totals], np.ndarray]
) -> np.ndarray:
    """Replace the mean of a foreground and a background score by NaN if the foreground or the background has no pixels.

    A side (foreground or background) that has no pixels in the whole run counts as 0 instead.

    Args:
        both: (R,) mean of the foreground and the background score in R sets of rows, where a side without pixels has
            score 0.
        totals, run: sums as in `Metric.compute`: {name: (R, ...)} and {name: (1, ...)}.
        unions: takes such sums and returns the union (R, 2) of foreground and background in pixels.

    Returns:
        The means (R,); NaN if foreground or background has no pixels in the set of rows.
    """
    empty = unions(totals) == 0
    if run is not None:
        empty = empty & (unions(run) > 0)
    return np.where(empty.any(-1), np.nan, both)


class FBIoU(Metric):
    name = "FB-IoU"
    meaning = "mean of the IoU of all classes taken together and the IoU of the background, sums over all test pixels"
    sums = (INTERSECTION, UNION, BACKGROUND)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        intersection, union = totals["background"].T
        both = fb_iou(totals["intersection"], totals["union"], (intersection, union))
        return over_shown_sides(
            both, totals, run, lambda sums: np.stack([sums["union"].sum(-1), sums["background"][:, 1]], -1)
        )


class Accuracy(Metric):
    name = "accuracy"
    meaning = (
        "episodes in which presence is decided rightly for every way (exact match; called ER elsewhere); of "
        "classification: query images whose class is named rightly, mean over the episodes"
    )
    sums = (RIGHT,)
    share = RIGHT

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        right, total = totals["right"].T
        return 100 * right / np.maximum(total, 1e-9)


class ErrorRate(Accuracy):
    name = "error"
    meaning = "100 - accuracy: episodes in which presence is decided wrongly for some way"
    higher_is_better = False

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return 100 - super().compute(totals, run)


class WayError(Metric):
    name = "way-error"
    meaning = "wrong presence decisions among those on all (episode, way) pairs"
    sums = (DECISIONS,)
    share = DECISIONS
    higher_is_better = False

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        right, total = totals["decisions"][..., 0].sum(-1), totals["decisions"][..., 1].sum(-1)
        return 100 - 100 * right / np.maximum(total, 1e-9)


class ClassAccuracy(Metric):
    name = "class-accuracy"
    meaning = "right presence decisions by class, mean over the classes"
    sums = (DECISIONS,)
    share = DECISIONS

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return class_accuracy(totals["decisions"][..., 0], totals["decisions"][..., 1])


class ClassError(ClassAccuracy):
    name = "class-error"
    meaning = "100 - class-accuracy"
    higher_is_better = False

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return 100 - super().compute(totals, run)


class PixelAccuracy(Metric):
    name = "pixel-accuracy"
    meaning = "share of a class's pixels that is found, mean over the classes (mAcc)"
    sums = (INTERSECTION, TRUTH)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return over_shown_classes(pixel_accuracy(totals["intersection"], totals["truth"]), totals, run)


class FBIoUAny(Metric):
    name = "FB-IoU-any"
    meaning = "FB-IoU whose foreground is one class: a pixel of one way taken for another way is right"
    sums = (FOREGROUND, BACKGROUND)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        foreground, (intersection, union) = totals["foreground"], totals["background"].T
        both = fb_iou(foreground[:, :1], foreground[:, 1:], (intersection, union))
        return over_shown_sides(
            both, totals, run, lambda sums: np.stack([sums["foreground"][:, 1], sums["background"][:, 1]], -1)
        )


class FBIoUClasses(MeanIoU):
    name = "FB-IoU-classes"
    meaning = "mean of the mIoU and the IoU of the background, FSSDINO's FB-IoU (fssdino.md §4)"
    sums = (*MeanIoU.sums, BACKGROUND)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        intersection, union = totals["background"].T
        both = (super().compute(totals, run) + 100 * intersection / np.maximum(union, 1)) / 2
        return over_shown_sides(both, totals, run, lambda sums: sums["background"][:, 1:])


class _RegionMean(Metric):
    """Mean of a region measure over the (episode, way) pairs."""

    sums = (REGION_MEASURES,)
    higher_is_better = False
    maximum = 1.0
    column: ClassVar[int]

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return totals["regions"][:, self.column] / np.maximum(totals["regions"][:, 2], 1e-9)


class ROM(_RegionMean):
    name = "ROM"
    meaning = "objects predicted in several pieces (dcama.md §12), mean over (episode, way) pairs; 0 to 1, 0 is best"
    column = 0


class RUM(_RegionMean):
    name = "RUM"
    meaning = "several objects predicted as one (dcama.md §12), mean over (episode, way) pairs; 0 to 1, 0 is best"
    column = 1


COMMON: tuple[Metric, ...] = (
    MeanIoU(), FBIoU(), Accuracy(), ErrorRate(), WayError(), ClassAccuracy(), ClassError(), PixelAccuracy(), FBIoUAny(),
    ROM(), RUM(), BoundaryIoU(), PresenceECE(), PixelECE(), PresenceCalibration(), PixelCalibration(),
)  # fmt: skip
"""Scores that there are under most protocols; one with a score of its own adds it (`Protocol.metrics`)."""

DEFAULT = ("mIoU", "FB-IoU", "accuracy")
"""Names of the scores of a table that does not ask for others, under most protocols."""
