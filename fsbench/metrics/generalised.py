"""Scores of base and novel classes at once as BAM's program computes them (gfss.md §9)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

EPS = 1e-10


class BAMScores(NamedTuple):
    """In percent: mIoU of novel, of base and of all classes, and FB-IoU."""

    novel: float
    base: float
    total: float
    fb_iou: float


def bam_scores(
    intersection: np.ndarray, union: np.ndarray, novel_index: Sequence[int], base: int, novel: int
) -> BAMScores:
    """Compute the scores of a run.

    Args:
        intersection, union: (E, n + 2) pixels of background, the n base classes and the episode's novel class.
        novel_index: (E,) rank of the episode's class among the fold's.
        base: n.
        novel: number of the fold's classes; one that no episode is about counts as 0.
    """
    sums = np.zeros((2, base + novel))
    for values, rows in zip(sums, (intersection, union), strict=True):
        values[:base] = rows[:, 1 : base + 1].sum(0)
        np.add.at(values[base:], list(novel_index), rows[:, base + 1])
    iou = 100 * sums[0] / (sums[1] + EPS)
    background = 100 * intersection[:, 0].sum() / (union[:, 0].sum() + EPS)
    foreground = 100 * intersection[:, 1:].sum() / (union[:, 1:].sum() + EPS)
    return BAMScores(
        float(iou[base:].mean()), float(iou[:base].mean()), float(iou.mean()), float(background + foreground) / 2
    )
