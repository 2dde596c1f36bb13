"""Scores of tests of base and novel classes at once, over several runs (gfss.md §7, §9)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fsbench.scores.metric import Metric, Sum, Totals
from fsbench.scores.rows import RowSum

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
    """Compute the mean IoU in percent (R,) of a run's sums (R, C, 2) of intersections and unions.

    It is the mean over the classes that the run shows or predicts (gfss.md §7), and `absent` more that count as 0.
    """
    intersection, union = sums[..., 0], sums[..., 1]
    there = union > 0
    number = there.sum(1) + absent
    iou = np.where(there, intersection / np.maximum(union, 1), 0).sum(1)
    return np.where(number > 0, 100 * iou / np.maximum(number, 1), np.nan)


@dataclass(frozen=True)
class _RunMean(Metric):
    """A mean over runs.

    Attributes:
        absent_is_zero: a class that no run shows or predicts counts as 0; else it is left out.
    """

    absent_is_zero: bool = False

    by_run = True

    def mean(self, name: str, totals: Totals, run: Totals | None) -> np.ndarray:
        """Average the sum `name` over the classes of a run."""
        absent = int((run[name][0, ..., 1] == 0).sum()) if self.absent_is_zero and run is not None else 0
        return mean_of_there(totals[name], absent)


class BaseIoU(_RunMean):
    name = "mIoU-base"
    meaning = "mean over the runs of the mIoU of the base classes, without background (gfss.md §7, §9)"
    sums = (BASE,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return self.mean("base", totals, run)


class NovelIoU(_RunMean):
    name = "mIoU-novel"
    meaning = "mean over the runs of the mIoU of the novel classes (gfss.md §7, §9)"
    sums = (NOVEL,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return self.mean("novel", totals, run)


class BaseAndNovelIoU(_RunMean):
    name = "mIoU-mean"
    meaning = "mean of mIoU-base and mIoU-novel (gfss.md §7)"
    sums = (BASE, NOVEL)
    atlas_metric = "gfss, base without background"

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return (self.mean("base", totals, run) + self.mean("novel", totals, run)) / 2


def generalised_metrics(absent_is_zero: bool) -> tuple[Metric, ...]:
    """Return the three scores; a base or novel class that a run neither shows nor predicts is 0, or left out."""
    return BaseAndNovelIoU(absent_is_zero), BaseIoU(absent_is_zero), NovelIoU(absent_is_zero)
