"""Lung nodules in slices of CT (fixed-supports.md §2.3)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.declaration import Declaration
from fsbench.datamodules.kinds.declared import remake_archives
from fsbench.datamodules.kinds.two_lists import TwoLists
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.label_images import write_label_map
from fsbench.datamodules.prepare.pickled_table import read_columns

PARTS = ("training", "test")
SCAN, MASK = "hu_array", "mask"
"""Columns of the tables."""


def _write_slices(job: Job, tables: Sequence[Path], unpacked: Path, making: Path) -> list[str]:
    rows = [read_columns(table, (SCAN, MASK), unpacked) for table in tables]
    if not rows[0]:
        raise DataError(f"{tables[0]} has no slices; expected some; fetch it again")
    low, high = min(row[SCAN].min() for row in rows[0]), max(row[SCAN].max() for row in rows[0])  # of the scans' type
    for part, table, own in zip(PARTS, tables, rows, strict=True):
        for kind in ("images", "masks"):
            (making / part / kind).mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(own):
            if row[SCAN].ndim != 2 or row[SCAN].shape != row[MASK].shape or not np.isin(row[MASK], (0, 1)).all():
                raise DataError(f"row {number} of {table} is no slice (H, W) with a mask of 0 and 1; fetch it again")
            Image.fromarray(grey_values(row[SCAN], low, high)).save(making / part / f"images/{number}.png")
            write_label_map(making / part / f"masks/{number}.png", row[MASK].astype(np.uint8))
    return []


class LungCancer(TwoLists):
    """Slices of CT with masks of nodules, one class; everything outside of the lungs is removed from the slices."""

    label_maps_are: ClassVar[str] = "the tables' masks"
    declaration = Declaration(
        name="lungcancer",
        class_names=("nodule",),
        inner=("lungcancer",),
        marks=PARTS,
        parts=PARTS,
        listed="{part}/images/{row}.png",
        image="{part}/{row}",
        labels="{part}/masks/{row}.png",
        mask="number 1",
        counts={"training": 708, "test": 264},
        make=partial(remake_archives, write=_write_slices),
        source=Source(
            page="https://data.mendeley.com/datasets/5rr22hgzwr/1",
            by_hand=(
                ByHand("the slices of CT", ("lung_cancer_train.pkl",)),
                ByHand("the slices of CT", ("lung_cancer_test.pkl",)),
            ),
            extra="medical",
        ),
    )


def grey_values(scan: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Return a slice (H, W) as 8-bit grey values: 0 at `low`, 255 at `high`, beyond them what is left of 8 bits.

    `low` and `high` are the least and the largest value of the training slices, of the slice's own type.
    """
    if high == low:
        return np.zeros(scan.shape, np.uint8)
    return ((scan - low) / (high - low) * 255).astype(np.int64).astype(np.uint8)
