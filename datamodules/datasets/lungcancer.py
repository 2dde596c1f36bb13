"""Lung nodules in slices of CT (fixed-supports.md §2.3)."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.image_io import read_label_map
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.two_lists import TwoLists
from fsbench.datamodules.prepare.by_hand import find_archive
from fsbench.datamodules.prepare.job import Job, unpublished
from fsbench.datamodules.prepare.label_images import write_label_map
from fsbench.datamodules.prepare.making import has_content, making_place, publish
from fsbench.datamodules.prepare.pickled_table import read_columns

ARCHIVES = {
    "training": ByHand("the slices of CT", ("lung_cancer_train.pkl",)),
    "test": ByHand("the slices of CT", ("lung_cancer_test.pkl",)),
}
"""Part -> the authors' table."""
SCAN, MASK = "hu_array", "mask"
"""Columns of the tables."""


class LungCancer(TwoLists):
    """Slices of CT with masks of nodules, one class; everything outside of the lungs is removed from the slices.

    Args:
        root: Folder with `<training, test>/images/<row>.png` and `<training, test>/masks/<row>.png`, which
            `fsbench data prepare` makes; or a folder that holds this one as `lungcancer`.
    """

    name = "lungcancer"
    class_names = ("nodule",)
    classes_of_fold = 1
    inner = ("lungcancer",)
    marks = tuple(ARCHIVES)
    listed = (708, 264)
    label_maps_are: ClassVar[str] = "the tables' masks"
    source = Source(
        instructions="""\
The slices are at https://data.mendeley.com/datasets/5rr22hgzwr/1, where their licence stands: put
lung_cancer_train.pkl and lung_cancer_test.pkl into DIR, and run
  fsbench data prepare lungcancer --root <root> --from DIR
which turns the tables into images by pandas (pip install 'fsbench[medical]'). Nobody publishes a checksum. <root> then
holds
  lungcancer/<training, test>/images/<row>.png   lungcancer/<training, test>/masks/<row>.png
"""
    )

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return the rows of both tables, ascending; files with other names than `<row>.png` are left out."""
        training, test = (
            [f"{part}/{row}" for row in sorted(_rows_in(self.root / part / "images"))] for part in ARCHIVES
        )
        return training, test

    def _file(self, name: str, kind: str) -> Path:
        part, row = name.split("/")
        return self.root / part / kind / f"{row}.png"

    def image_path(self, name: str) -> Path:
        return self._file(name, "images")

    def label_file(self, name: str) -> Path:
        return self._file(name, "masks")

    def label_map(self, name: str) -> np.ndarray:
        return read_label_map(self.label_file(name))

    @classmethod
    def is_prepared(cls, root: Path) -> bool:
        return any(all(has_content(folder / part) for part in ARCHIVES) for folder in (root, root / cls.inner[0]))

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Turn the authors' tables into images and masks; return remarks for the user.

        Grey values are those of the authors' program: from 0 to 255 between the least and the largest value of all
        training slices, cut to whole numbers of 8 bits.

        Raises:
            DataError: a table is absent or damaged, or has an unusable slice.
        """
        if cls.is_prepared(job.root):
            return []
        target = job.root / cls.inner[0]
        files = {part: find_archive(job, archive, cls.source) for part, archive in ARCHIVES.items()}
        with tempfile.TemporaryDirectory(dir=job.root) as folder:
            tables = {part: read_columns(file, (SCAN, MASK), Path(folder)) for part, file in files.items()}
        training = [row[SCAN] for row in tables["training"]]
        if not training:
            raise DataError(f"{files['training']} has no slices; expected some; fetch it again")
        low, high = min(scan.min() for scan in training), max(scan.max() for scan in training)  # of the scans' own type
        with making_place(target) as making:
            for part, rows in tables.items():
                for kind in ("images", "masks"):
                    (making / part / kind).mkdir(parents=True, exist_ok=True)
                for number, row in enumerate(rows):
                    _check(row[SCAN], row[MASK], f"row {number} of {files[part]}")
                    Image.fromarray(grey_values(row[SCAN], low, high)).save(making / part / f"images/{number}.png")
                    write_label_map(making / part / f"masks/{number}.png", row[MASK].astype(np.uint8))
            publish(making, target)
        for file in files.values():
            job.note(file, None, verified=False)
        return [unpublished(file.name) for file in files.values()]


def grey_values(scan: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Return a slice (H, W) as 8-bit grey values: 0 at `low`, 255 at `high`, beyond them what is left of 8 bits.

    Args:
        scan: the slice, any real type.
        low, high: the least and the largest value of the training slices, of the same type.
    """
    if high == low:
        return np.zeros(scan.shape, np.uint8)
    return ((scan - low) / (high - low) * 255).astype(np.int64).astype(np.uint8)


def _rows_in(folder: Path) -> set[int]:
    """Return the numbers of the files `<row>.png` in a folder; none if there is no such folder."""
    stems = (path.stem for path in folder.glob("*.png"))
    return {int(stem) for stem in stems if stem.isdecimal() and stem == str(int(stem))}


def _check(scan: np.ndarray, mask: np.ndarray, where: str) -> None:
    """Raise DataError unless a slice and its mask are of one size, and the mask has the numbers 0 and 1."""
    if scan.ndim != 2 or scan.shape != mask.shape:
        raise DataError(f"{where} has a slice of {scan.shape} and a mask of {mask.shape}; expected one size (H, W)")
    if not np.isin(mask, (0, 1)).all():
        raise DataError(f"{where} has a mask with other numbers than 0 and 1; fetch the table again")
