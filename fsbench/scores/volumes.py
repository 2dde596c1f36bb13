"""Scores of whole scans: Dice, precision and recall of their voxels (alpnet.md §3.5)."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fsbench.scores.metric import Metric, Sum, Totals
from fsbench.scores.rows import RowSum

if TYPE_CHECKING:
    from fsbench.scores.count_table import CountTable


def _voxels(table: "CountTable") -> RowSum | None:
    if table.header is None or not table.header.slices:
        return None
    names, scan = np.unique(table.independent_names(table.pairs), return_inverse=True)
    counts = table.counts[:, :3]  # hits, predicted and true voxels, without void ones
    values = np.zeros((len(counts), len(names), 4), dtype=np.int64)
    values[np.arange(len(counts)), scan] = np.column_stack([counts, np.ones(len(counts), dtype=np.int64)])
    return table.by_class(values)


VOXELS = Sum("voxels", _voxels)
"""(C, V, 4) voxels of each class in each scan that are right, predicted and true, and the number of its slices."""


class VolumeScore(Metric):
    """A share of a scan's voxels, such as Dice, averaged over scans, then over classes.

    A scan of which no voxel is counted is left out. A scan for which the share is 0 / 0 makes the score NaN, as in the
    authors' programs. For Dice this happens where all slices of a scan count, the scan lacks a class and the method
    finds none (`adnet`, `alpnet_all_slices`); not where a scan without the class has no query (`qnet`), or is refused
    (`alpnet`).
    """

    sums = (VOXELS,)
    parts: ClassVar[tuple[int, ...]]
    """Places in `VOXELS` whose sum the hits are divided by, all together taken as often as they are here."""

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        voxels = totals["voxels"]
        return 100 * mean_over_scans(self.shares(voxels), voxels[..., 3] > 0)

    def shares(self, voxels: np.ndarray) -> np.ndarray:
        """Return the shares (...) from 0 to 1 of scans, NaN for 0 / 0, from their `VOXELS` (..., 4)."""
        whole = voxels[..., list(self.parts)].sum(-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(len(self.parts) * voxels[..., 0] / whole)


def mean_over_scans(shares: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Average shares (R, C, V) over scans, then classes, (R,); entries not in `counted` are left out.

    R sets of rows, C classes, V scans. A class without any scan is left out, too; NaN if no class has a scan.
    """
    scans = counted.sum(-1)
    by_class = np.where(counted, shares, 0).sum(-1) / np.maximum(scans, 1)
    classes = (scans > 0).sum(-1)
    return np.where(classes > 0, by_class.sum(-1) / np.maximum(classes, 1), np.nan)


class Dice(VolumeScore):
    name = "Dice"
    meaning = "2 TP / (2 TP + FP + FN) of the voxels of a scan, mean over the scans of a fold, then over classes"
    parts = (1, 2)


class VolumePrecision(VolumeScore):
    name = "voxel-precision"
    meaning = (
        "TP / (TP + FP) of the voxels of a scan, mean over the scans of a fold, then over classes; none where a "
        "scan has no prediction"
    )
    parts = (1,)


class VolumeRecall(VolumeScore):
    name = "voxel-recall"
    meaning = "TP / (TP + FN) of the voxels of a scan, mean over the scans of a fold, then over classes"
    parts = (2,)


VOLUME: tuple[VolumeScore, ...] = (Dice(), VolumePrecision(), VolumeRecall())
"""Scores of whole scans."""
