"""Any data set of images and label PNGs in the VOC layout, described by a `folds.yaml` beside them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files.names import existing_form
from fsbench.data.dataset import Part
from fsbench.data.list_substitutes import print_once
from fsbench.data.orientation import fit_labels, fits_both_ways
from fsbench.datamodules.check.report import some
from fsbench.datamodules.indexes.mask_folder import MaskFolder, read_names

DESCRIPTION = "folds.yaml"


class Folder(MaskFolder):
    """A folder of images and label PNGs with a `folds.yaml`.

    A pair is every (image, class) with at least `min_pixels` pixels of the class. The test list is sorted by (name,
    class), the training list by (class, name), as PASCAL's official lists are; the lists for PFENet-like programs keep
    the order of the list files.

    Args:
        root: folder that holds `folds.yaml`; the paths in it are relative to this folder.
    """

    turns_images = True

    def __init__(self, root: str):
        from fsbench.datamodules.datasets.folder.description import (
            read_description,  # pydantic and yaml are needed for folders only
        )

        self.root = Path(root).expanduser()
        file = self.root / DESCRIPTION
        description = read_description(file)
        self.name = description.name
        # numbers that the description leaves out have no name and belong to no fold
        highest = max(description.classes)
        self.class_names = tuple(description.classes.get(number, "") for number in range(1, highest + 1))
        self._novel_classes = description.folds
        self.folds = len(description.folds)
        self.min_pixels = description.min_pixels
        self.query_sampling = description.query_sampling
        self.augment_threshold = description.augment_threshold
        entries = (description.train, description.val, description.images, description.masks)
        train, val, images, masks = (existing_form(self.root / entry) or self.root / entry for entry in entries)
        self.list_files = {"trn": train, "val": val}
        super().__init__(images, masks, description.classes)
        for folder in (self.image_folder, self.label_folder):
            if not folder.is_dir():
                raise DataError(
                    f"{folder} does not exist; expected the folder that {file} names; correct the path there or put "
                    "the files in place"
                )

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map as it lies on the image that people see, on whichever form it was drawn (`fit_labels`).

        Raises DataError where it has another size.
        """
        return fit_labels(super().label_map(name), self.image_path(name), self.label_file(name))

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        super().count_pixels(part, names)
        turned = [name for name in names if fits_both_ways(self.image_path(name))]
        if turned and os.environ.get("LOCAL_RANK", "0") == "0":
            print_once(
                f"{self.name}: {len(turned)} images are turned by their EXIF entry ({some(turned, 3)}); their label "
                "maps, which fit both ways, are taken as drawn on the turned images"
            )

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return self._novel_classes[fold]

    def train_classes(self, fold: int) -> list[int]:
        return sorted(self.class_numbers.difference(self.test_classes(fold)))

    def candidates(self, part: Part) -> Sequence[str]:
        """Return the names of the list file of `part`."""
        names = read_names(self.list_files[part])
        self.require_files(names, self.list_files[part])
        return names
