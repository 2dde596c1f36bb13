"""ISIC 2018 Task 1 with lists of training and test images, as DistillFSS has it (fixed-supports.md §2.1)."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.dataset import Pair, Part
from fsbench.data.source import Source
from fsbench.datamodules.datasets.isic import IMAGES, MASKS, Isic, lesion_classes
from fsbench.datamodules.kinds.two_lists import TwoLists, grey, random_fifth
from fsbench.datamodules.lists.text_file import read_rows
from fsbench.datamodules.prepare.job import Job

TABLE, TEST = "ISIC_2019_Training_GroundTruth.csv", "test.csv"
COLUMNS = {"NV": 1, "MEL": 2, "BKL": 3}
"""Column of the table -> class."""
ABSENT = "ISIC_0015982"
"""The image, a nevus, that the authors' table lacks."""


class IsicListed(TwoLists):
    """ISIC 2018 Task 1, three kinds of lesions, with a list of training and one of test images.

    Without the table of ISIC 2019, images and their kinds are those of the published list of Task 1, but for one image
    that the table lacks. Without `test.csv`, which the authors do not release, a fifth is drawn as for `Kvasir`.

    Args:
        root: Folder with `ISIC2018_Task1-2_Training_Input/<id>.jpg` (or in folders 1 to 3, as for `Isic`) and
            `ISIC2018_Task1_Training_GroundTruth/<id>_segmentation.png`, and, where there are, the table
            `ISIC_2019_Training_GroundTruth.csv` and `test.csv` with a column `id`; or a folder that holds this one as
            `ISIC`.
    """

    name = "isic_listed"
    class_names = ("nevus", "melanoma", "seborrheic_keratosis")
    classes_of_fold = 3
    same_classes_as: ClassVar[tuple[str, ...]] = (Isic.name,)
    inner = ("ISIC",)
    marks = (IMAGES, MASKS)
    source = Source(
        instructions="""\
Its folder is that of isic, which has the same images: fsbench data prepare isic_listed --root <root>, from
https://challenge.isic-archive.com/data, which states the licence. The table ISIC_2019_Training_GroundTruth.csv of the
same page may be put into <root>, and so may test.csv with the column id, if you have one.
"""
    )

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        """{id: image} of all images that have a mask."""
        found = [*(self.root / IMAGES).glob("*.jpg"), *(self.root / IMAGES).glob("[123]/*.jpg")]
        return {path.stem: path for path in sorted(found) if self.label_file(path.stem).is_file()}

    @cached_property
    def _classes(self) -> Mapping[str, int]:
        """{id: class} in the order of the table, of images that are there.

        Raises:
            DataError: the table has another form.
        """
        path = self.root / TABLE
        if path.is_file():
            rows = [(row.get("image") or "", row) for row in read_rows(path, "image")]
            every = {name.replace("_downsampled", ""): _class_of(row, path) for name, row in rows}
        else:
            numbers = {name: number for number, name in enumerate(self.class_names, 1)}
            every = {name: numbers[kind] for name, kind in sorted(lesion_classes().items()) if name != ABSENT}
        found = {name: number for name, number in every.items() if name in self._images}
        other = next((name for name, number in found.items() if number not in COLUMNS.values()), None)
        if other is not None:
            raise DataError(f"{path} has another kind of lesion for {other}; expected one of {', '.join(COLUMNS)}")
        return found

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        path = self.root / TEST
        if not path.is_file():
            split = random_fifth(list(self._classes))
            return split.training, split.test
        test = [row["id"] for row in read_rows(path, "id")]
        unknown = next((name for name in test if name not in self._classes), None)
        if unknown is not None or len(set(test)) < len(test):
            what = "an image twice" if unknown is None else f"{unknown}, which is no image with a mask and a class"
            raise DataError(f"{path} names {what}; expected ids of images, each once; correct the list")
        return [name for name in self._classes if name not in set(test)], test

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        """Yield every image with the class of its row; no mask is read."""
        for name in self.candidates(part):
            yield name, self._classes[name]

    def image_path(self, name: str) -> Path:
        return self._images[name]

    def label_file(self, name: str) -> Path:
        return self.root / MASKS / f"{name}_segmentation.png"

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8: the class of the image where the mask's grey value is 128 or more."""
        return ((grey(self.label_file(name)) >= 128) * self._classes[name]).astype(np.uint8)

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Make the folder of `Isic`; return remarks for the user."""
        return Isic.prepare(job)


def _class_of(row: Mapping[str, str], path: Path) -> int:
    """Return the class of a row of the table; 0 for kinds of lesions without a class.

    Raises:
        DataError: the row has no single kind.
    """
    kinds = [name for name, value in row.items() if name != "image" and value in ("1", "1.0")]
    if len(kinds) != 1:
        raise DataError(f"{path} has {len(kinds)} kinds of lesions for {row.get('image')}; expected one")
    return COLUMNS.get(kinds[0], 0)
