"""Tables of labelled images: a data set of one's own."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.dataset import VOID
from fsbench.data.labelled.image import LabelledImage


@dataclass(frozen=True)
class LabelledTable:
    """Labelled images, the names of their classes, and notes for the user on how they were read.

    Attributes:
        images: the images, by name.
        class_names: names of class 1, 2, …; "" where a number has no name.
        notes: one sentence each.
    """

    images: tuple[LabelledImage, ...]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, LabelledImage]:
        return {image.name: image for image in self.images}

    def __getitem__(self, name: str) -> LabelledImage:
        return self._by_name[name]

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8 of an image, upright, in the table's class numbers.

        Raises:
            DataError: the image is not labelled, or its labels cannot be read.
        """
        image = self[name]
        if image.labels is None:
            raise DataError(f"the image {name} is not labelled; expected a mask or an annotation file of it")
        labels, classes, _ = image.labels.read(image.photo)
        numbers = np.zeros(256, np.uint8)
        numbers[VOID] = VOID
        for number, class_name in classes.items():
            numbers[number] = self.class_names.index(class_name) + 1
        return numbers[labels]


def read_table(root: Path, classes: str = "", photos: Path | None = None) -> LabelledTable:
    """Read the labelled images of a folder or file, in whatever form they lie there.

    Args:
        root: a folder, an annotation file or a CSV or Parquet table.
        classes: "1=cat,2=dog" names the numbers of label maps; "cat,dog" chooses among classes that have names.
        photos: folder of the photos that annotation files name, instead of the folder of the file.

    Raises:
        DataError: there is no labelled image, or a file cannot be read.
    """
    raise DataError(f"{root} cannot be read yet")
