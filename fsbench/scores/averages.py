"""Other averages of the IoU than that over classes, as evaluation programs have them; a claimed score may be one."""

from typing import TYPE_CHECKING

import numpy as np

from fsbench.scores.metric import Metric, Sum, Totals
from fsbench.scores.rows import RowSum
from fsbench.scores.scores import BACKGROUND, INTERSECTION, TRUTH, UNION, MeanIoU, over_shown_sides

if TYPE_CHECKING:
    from fsbench.scores.count_table import CountTable


def _pair_ious(table: "CountTable") -> RowSum:
    intersection, union = table.intersection_union
    return table.by_pair(np.stack([intersection / np.maximum(union, 1), (union > 0).astype(float)], 1))


PAIR_IOUS = Sum("pair_ious", _pair_ious)
"""(2,) sum of the IoUs of single (episode, way) pairs, and the number of pairs that show or predict anything."""


class EpisodeIoU(Metric):
    name = "IoU-of-episodes"
    meaning = "mean of the IoUs of single episodes"
    sums = (PAIR_IOUS,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        total, number = totals["pair_ious"].T
        return np.where(number > 0, 100 * total / np.maximum(number, 1e-9), np.nan)


class PooledIoU(Metric):
    name = "IoU-pooled"
    meaning = "IoU of all classes' pixels together"
    sums = (INTERSECTION, UNION)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        intersection, union = totals["intersection"].sum(-1), totals["union"].sum(-1)
        return np.where(union > 0, 100 * intersection / np.maximum(union, 1), np.nan)


class MeanIoUWithBackground(MeanIoU):
    name = "mIoU+background"
    meaning = "mean over the classes and the background"
    sums = (INTERSECTION, UNION, TRUTH, BACKGROUND)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        classes = totals["union"].shape[-1]
        intersection, union = totals["background"].T
        mean = (classes * super().compute(totals, run) + 100 * intersection / np.maximum(union, 1)) / (classes + 1)
        return over_shown_sides(mean, totals, run, lambda sums: sums["background"][:, 1:])


AVERAGES: tuple[Metric, ...] = (EpisodeIoU(), PooledIoU(), MeanIoUWithBackground())
