"""Data sets with a list of training images, whose order decides which of them are supports, and a list of test images.

DistillFSS's seven data sets are of this kind (fixed-supports.md A).
"""

from collections.abc import Sequence
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import Part
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.binary_masks import CountedOnce
from fsbench.datamodules.kinds.declaration import MASKS, files
from fsbench.datamodules.kinds.declared import Declared

Run = Literal["later", "first"]
"""A run of DistillFSS's program: its first draws the images of the test, later ones read the first's choice."""


def random_fifth(names: Sequence[str], run: Run = "later") -> tuple[Sequence[str], Sequence[str]]:
    """Draw a fifth of a list as scikit-learn's `train_test_split(names, test_size=0.2, random_state=42)` does.

    Returns the other images, in the order of the list or, in the "first" run, as drawn, and the test's as drawn.

    >>> random_fifth("abcdefgh")
    (['a', 'c', 'd', 'e', 'g', 'h'], ['b', 'f'])
    """
    number = ceil(0.2 * len(names))
    order = np.random.RandomState(42).permutation(len(names)).tolist()
    others = order[number:] if run == "first" else sorted(order[number:])
    return [names[place] for place in others], [names[place] for place in order[:number]]


class TwoLists(Declared, CountedOnce):
    """Data set with a list of training images in an order that matters, and a list of test images.

    Attributes:
        run: run of DistillFSS's program whose order the training images have, where a fifth of all images is the test.
    """

    label_maps_are: ClassVar[str] = "the data set's masks, by the threshold of DistillFSS's program"
    run: Run = "later"

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return the names of the training and of the test images, in order, by the files that are there."""
        if not self.declaration.parts:
            return random_fifth(list(self.texts), self.run)
        training, test = (
            [name for name, texts in self.texts.items() if texts["part"] == part] for part in self.declaration.parts
        )
        return training, test

    @cached_property
    def images(self) -> tuple[Sequence[str], Sequence[str]]:
        lists = self.list_images()
        for part, names in zip(("training", "test"), lists, strict=True):
            if not names:
                raise self.source.missing(f"{self.root} has no {part} images; expected some")
        return lists

    @property
    def every_name(self) -> Sequence[str]:
        return [*self.images[0], *self.images[1]]

    def candidates(self, part: Part) -> Sequence[str]:
        if part == "held_out":
            raise SettingsError(f"{self.name} keeps no classes for validation; choose novel ones")
        return self.images[part == "val"]

    def _masks(self, name: str) -> Sequence[Path]:
        return files(self.root, self.declaration.labels, self.texts_of(name))

    @property
    def further_files(self) -> Sequence[Path]:
        several = self.every_name if self.declaration.labels.endswith("*") else ()
        return [mask for name in several for mask in self._masks(name)[1:]]

    def label_map(self, name: str) -> np.ndarray:
        masks = [MASKS[self.declaration.mask](mask) for mask in self._masks(name)]
        if any(mask.shape != masks[0].shape for mask in masks):
            raise DataError(f"{self.label_file(name).parent} has masks of several sizes; expected one; fetch it again")
        number = self.class_number(name) if self.knows_kinds else 1
        return np.max(masks, axis=0).astype(np.uint8) * np.uint8(number)

    def report_lists(self, report: Report) -> None:
        for part, names in zip(("training", "test"), self.images, strict=True):
            report.count("lists", len(names), self.declaration.counts.get(part), f"{part} images")


class RandomFifth(TwoLists):
    """Data set of which DistillFSS's program draws a fifth as the test.

    Args:
        root: the folder of the data set.
        run: Run of DistillFSS's program whose order the training images have, which decides which of them are supports.
            The "first" run draws the images of the test and has the others as drawn; "later" runs have them in the
            order of the data set's list.
    """

    def __init__(self, root: str, run: Run = "later"):
        super().__init__(root)
        self.run = run
