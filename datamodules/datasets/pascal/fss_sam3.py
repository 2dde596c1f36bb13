"""PASCAL-5i under the protocol fss_sam3: boxes of objects, where VOC's object maps are there (sam3-canvas.md §4)."""

import random
from functools import cached_property
from pathlib import Path

import numpy as np

from fsbench.base.files import fingerprint
from fsbench.data.episodes.episode import Episode
from fsbench.data.file_digests import content_digests
from fsbench.data.image_io import read_label_map
from fsbench.data.list_substitutes import substitute_list
from fsbench.data.orientation import check_sizes
from fsbench.datamodules.datasets.pascal.index import Pascal
from fsbench.protocols.draws.boxes import Box, BoxTest, largest_object_box

OBJECTS = "SegmentationObject"
"""Folder of VOC's object maps, beside the label maps; without it boxes follow from label maps, which records say."""


@BoxTest.register(Pascal)
class PascalBoxes(BoxTest):
    """The validation images of VOC 2012, and the box of each support's largest object."""

    index: Pascal

    @cached_property
    def _objects(self) -> Path | None:
        folder = self.index.root / OBJECTS
        if folder.is_dir():
            return folder
        substitute_list(self.index, "val", f"the folder {OBJECTS}", "boxes of connected parts of the label maps")
        return None

    @property
    def origin(self) -> str:
        if self._objects is None:
            return f"derived (no folder {OBJECTS}: boxes of connected parts)"
        return f"ImageSets/Segmentation/val.txt and {OBJECTS}"

    @property
    def sha256(self) -> str:
        if self._objects is None:
            return super().sha256
        names = sorted({name for of_class in self.pools().supports.values() for name in of_class})
        return fingerprint([super().sha256, content_digests([self._objects / f"{name}.png" for name in names])])

    def load(self, episode: Episode, rng: random.Random) -> Episode | None:
        if self._objects is None:
            return episode
        (number,), (names,) = episode.classes, episode.supports
        boxes = [self.box(name, number, self.index.label_map(name) == number) for name in names]
        return None if None in boxes else episode

    def box(self, name: str, number: int, mask: np.ndarray) -> Box | None:
        if self._objects is None:
            return super().box(name, number, mask)
        path = self._objects / f"{name}.png"
        objects = read_label_map(path)
        check_sizes(self.index.label_file(name), mask, objects, path)
        return largest_object_box(mask * np.uint8(number), objects, number)
