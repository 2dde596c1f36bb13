"""Scores that programs print under the name of mIoU, and that tables of ours do not have."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fsbench.scores.metric import Metric, Sum, Totals
from fsbench.scores.rows import RowValues
from fsbench.scores.scores import BACKGROUND, INTERSECTION, TRUTH, UNION, FBIoU, FBIoUClasses, MeanIoU

if TYPE_CHECKING:
    from fsbench.scores.count_table import CountTable


def _ious(table: "CountTable") -> RowValues:
    intersection, union = table.intersection_union
    there = union > 0
    iou = np.where(there, intersection / np.maximum(union, 1), 0.0)
    return table.by_class(np.column_stack([iou, there.astype(float)]))


IOUS = Sum("ious", _ious)
"""(C, 2) sum of the IoU of (episode, way) pairs, and their number; a pair without pixels has none."""


class ForegroundIoU(Metric):
    """IoU of the pixels of all classes together."""

    name = "foreground IoU"
    meaning = "sums of intersections and of unions over all classes together, divided once"
    sums = (INTERSECTION, UNION)
    atlas_metric = "pooled foreground IoU"

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        union = totals["union"].sum(-1)
        return np.where(union > 0, 100 * totals["intersection"].sum(-1) / np.maximum(union, 1), np.nan)


class MeanIoUWithBackground(MeanIoU):
    """mIoU in which the background is a class more."""

    name = "mIoU with background"
    meaning = "mean over the classes and the background of summed intersections / summed unions"
    sums: ClassVar[tuple[Sum, ...]] = (INTERSECTION, UNION, TRUTH, BACKGROUND)
    atlas_metric = "confusion with background"

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        classes = totals["union"].shape[-1]
        intersection, union = totals["background"].T
        background = np.where(union > 0, 100 * intersection / np.maximum(union, 1), np.nan)
        return (super().compute(totals, run) * classes + background) / (classes + 1)


class EpisodeIoU(Metric):
    """Mean of the episodes' own IoU."""

    name = "IoU by episode"
    meaning = "mean of the IoU of each episode"
    sums = (IOUS,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        total, number = totals["ious"][..., 0].sum(-1), totals["ious"][..., 1].sum(-1)
        return np.where(number > 0, 100 * total / np.maximum(number, 1), np.nan)


class ClassEpisodeIoU(Metric):
    """Mean over the classes of the mean of their episodes' own IoU."""

    name = "IoU by episode, then by class"
    meaning = "mean over the classes of the mean IoU of their episodes"
    sums = (IOUS,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        total, number = totals["ious"][..., 0], totals["ious"][..., 1]
        shown = (number > 0).sum(-1)
        return np.where(shown > 0, 100 * (total / np.maximum(number, 1)).sum(-1) / np.maximum(shown, 1), np.nan)


POOLED = "class-pooled mIoU"
"""Word of the atlas for the score of most programs."""
SCORES: Mapping[str, Metric] = {
    POOLED: MeanIoU(),
    ForegroundIoU.atlas_metric: ForegroundIoU(),
    MeanIoUWithBackground.atlas_metric: MeanIoUWithBackground(),
    "mean of the episodes' IoU": EpisodeIoU(),
    "mean of the episodes' IoU by class": ClassEpisodeIoU(),
    "FB-IoU": FBIoU(),
    "FB-IoU, mean of mIoU and background IoU": FBIoUClasses(),
}
"""Word -> score. Those that the atlas knows have its words."""
