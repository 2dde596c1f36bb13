"""Scores of tests of base and novel classes at once, over several runs (gfss.md §7, §9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fsbench.scores.metric import Metric, Sum, Totals
from fsbench.scores.rows import RowSum
from fsbench.scores.sums import BACKGROUND

if TYPE_CHECKING:
    from fsbench.scores.count_table import CountTable


def _part(table: "CountTable", novel: bool) -> RowSum | None:
    if not table.is_whole or table.header is None:
        return None
    numbers = set(table.header.protocol_entries["novel_ids"])
    places = {number: place for place, number in enumerate(n for n in table.class_ids if (n in numbers) == novel)}
    place = np.array([places.get(number, -1) for number in table.column("class_id").tolist()], dtype=int)
    return RowSum(np.stack(table.intersection_union, 1), place, len(places))


BASE = Sum("base", lambda table: _part(table, novel=False))
"""(C, 2) intersection and union of the base classes."""
NOVEL = Sum("novel", lambda table: _part(table, novel=True))
"""(C, 2) intersection and union of the novel classes."""


def mean_of_there(sums: np.ndarray, absent: int = 0) -> np.ndarray:
    """Compute the mean IoU in percent (R,) over the classes that have pixels in truth or prediction (gfss.md §7).

    Args:
        sums: (R, C, 2) intersections and unions of each class in pixels; classes with union 0 are left out.
        absent: number of further classes that count as IoU 0.
    """
    intersection, union = sums[..., 0], sums[..., 1]
    there = union > 0
    number = there.sum(1) + absent
    iou = np.where(there, intersection / np.maximum(union, 1), 0).sum(1)
    return np.where(number > 0, 100 * iou / np.maximum(number, 1), np.nan)


def _classes(totals: Totals, names: Sequence[str]) -> np.ndarray:
    """Return the intersections and unions (R, C, 2) of the classes of all these sums, the background as one of them."""
    return np.concatenate([totals[name].reshape(len(totals[name]), -1, 2) for name in names], 1)


@dataclass(frozen=True)
class _RunMean(Metric):
    """A mean over runs.

    Attributes:
        absent_is_zero: a class that no run shows or predicts counts as 0; else it is left out.
    """

    absent_is_zero: bool = False

    by_run = True

    def mean(self, totals: Totals, run: Totals | None, *names: str) -> np.ndarray:
        """Average the sums of these names over their classes."""
        absent = 0
        if self.absent_is_zero and run is not None:
            absent = int((_classes(run, names)[0, :, 1] == 0).sum())
        return mean_of_there(_classes(totals, names), absent)


class BaseIoU(_RunMean):
    name = "mIoU-base"
    meaning = "mean over the runs of the mIoU of the base classes, without background (gfss.md §7, §9)"
    sums = (BASE,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return self.mean(totals, run, "base")


class NovelIoU(_RunMean):
    name = "mIoU-novel"
    meaning = "mean over the runs of the mIoU of the novel classes (gfss.md §7, §9)"
    sums = (NOVEL,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return self.mean(totals, run, "novel")


class BaseAndNovelIoU(_RunMean):
    name = "mIoU-mean"
    meaning = "mean of mIoU-base and mIoU-novel (gfss.md §7)"
    sums = (BASE, NOVEL)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return (self.mean(totals, run, "base") + self.mean(totals, run, "novel")) / 2


class AllAndBackgroundIoU(_RunMean):
    name = "mIoU-all+background"
    meaning = "mean over the runs of the mIoU of the background, the base and the novel classes (atlas-runs.md §9)"
    sums = (BACKGROUND, BASE, NOVEL)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return self.mean(totals, run, "background", "base", "novel")


class BaseAndBackgroundIoU(_RunMean):
    name = "mIoU-base+background"
    meaning = "mean over the runs of the mIoU of the background and the base classes (atlas-runs.md §9)"
    sums = (BACKGROUND, BASE)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return self.mean(totals, run, "background", "base")
