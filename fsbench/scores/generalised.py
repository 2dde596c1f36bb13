"""Scores of tests of base and novel classes at once, over several runs (gfss.md §7, §9)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fsbench.scores.metric import Metric, Sum, Totals

if TYPE_CHECKING:
    from fsbench.data.episodes.header import Header
    from fsbench.scores.count_table import CountTable


def run_starts(header: "Header") -> list[int]:
    """Return the number of the first episode of each run whose scores are averaged; there is one by default."""
    lengths = header.protocol_entries.get("run_lengths", [0])
    return [sum(lengths[:run]) for run in range(len(lengths))]


def _by_run(table: "CountTable") -> np.ndarray | None:
    if not table.is_whole or table.header is None:
        return None
    starts = run_starts(table.header)
    run = np.searchsorted(starts, table.column("episode"), side="right") - 1
    values = np.zeros((len(run), len(starts), 2), dtype=np.int64)
    values[np.arange(len(run)), run] = np.stack(table.intersection_union, 1)
    return table.by_class(values)


def _runs_of(table: "CountTable", novel: bool) -> np.ndarray | None:
    sums = table.sum(RUNS)
    if sums is None or table.header is None:
        return None
    numbers = set(table.header.protocol_entries["novel_ids"])
    return np.asarray(sums[:, [(number in numbers) == novel for number in table.class_ids]])


RUNS = Sum("runs", _by_run)
"""(Q, C, runs, 2) intersection and union of the ways by run; base and novel classes are parts of it."""
BASE_RUNS = Sum("base_runs", lambda table: _runs_of(table, novel=False))
NOVEL_RUNS = Sum("novel_runs", lambda table: _runs_of(table, novel=True))


def run_means(sums: np.ndarray, absent: int = 0) -> np.ndarray:
    """Compute the mean IoU in percent (R,) of sums (R, C, runs, 2) of intersections and unions.

    It is the mean over the runs of the mean over the classes that a run shows or predicts (gfss.md §7), and `absent`
    more that count as 0.
    """
    intersection, union = sums[..., 0], sums[..., 1]
    there = union > 0
    iou = np.where(there, intersection / np.maximum(union, 1), 0).sum(1) / np.maximum(there.sum(1) + absent, 1)
    return 100 * iou.mean(-1)


@dataclass(frozen=True)
class _RunMean(Metric):
    """A mean over runs.

    Attributes:
        absent_is_zero: a class that no run shows or predicts counts as 0; else it is left out.
    """

    absent_is_zero: bool = False

    def mean(self, name: str, totals: Totals, run: Totals | None) -> np.ndarray:
        """Average the sum `name` over its runs and classes."""
        absent = int((run[name][0, ..., 1].sum(-1) == 0).sum()) if self.absent_is_zero and run is not None else 0
        return run_means(totals[name], absent)


class BaseIoU(_RunMean):
    name = "mIoU-base"
    meaning = "mean over the runs of the mIoU of the base classes, without background (gfss.md §7, §9)"
    sums = (BASE_RUNS,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return self.mean("base_runs", totals, run)


class NovelIoU(_RunMean):
    name = "mIoU-novel"
    meaning = "mean over the runs of the mIoU of the novel classes (gfss.md §7, §9)"
    sums = (NOVEL_RUNS,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return self.mean("novel_runs", totals, run)


class BaseAndNovelIoU(_RunMean):
    name = "mIoU-mean"
    meaning = "mean of mIoU-base and mIoU-novel (gfss.md §7)"
    sums = (BASE_RUNS, NOVEL_RUNS)
    atlas_metric = "gfss, base without background"

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return (self.mean("base_runs", totals, run) + self.mean("novel_runs", totals, run)) / 2


def generalised_metrics(absent_is_zero: bool) -> tuple[Metric, ...]:
    """Return the three scores; a base or novel class that a run neither shows nor predicts is 0, or left out."""
    return BaseAndNovelIoU(absent_is_zero), BaseIoU(absent_is_zero), NovelIoU(absent_is_zero)
