"""COCO-20i under the protocol fssdino: large objects of the annotation file instead of label maps (fssdino.md §5)."""

from functools import cached_property
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.large_objects import SMALLEST_AREA, LargeObjects, read_large_objects
from fsbench.data.segmentations import RASTERISED
from fsbench.datamodules.datasets.coco.index import CLASS_NAMES, Coco
from fsbench.datamodules.indexes.views import SEPARATOR, view_photo
from fsbench.protocols.draws.large_objects import LargeObjectImages, LargeObjectTest

FOLDER = "val2014"
"""Folder of the test's images."""


class CocoLargeObjects(Coco):
    """COCO-20i as the test sees it: a name that ends with `@` and a class number shows its large objects alone."""

    label_maps_are = f"of one class each: its objects of {SMALLEST_AREA} pixels or more but crowds, {RASTERISED}"

    @cached_property
    def large_objects(self) -> LargeObjects:
        self.require_parts(FOLDER)
        objects = read_large_objects(self.annotation_file(FOLDER))
        names = [name for _, name in objects.categories]
        if names != list(CLASS_NAMES):
            place = next((i for i, name in enumerate(names[: len(CLASS_NAMES)]) if name != CLASS_NAMES[i]), 0)
            found = (
                f"{len(names)} categories" if len(names) != len(CLASS_NAMES) else f"{names[place]!r} as {place + 1}."
            )
            raise DataError(
                f"annotation file {objects.path} has {found}; expected COCO's {len(CLASS_NAMES)} categories in their "
                "order, which folds go by; fetch the file again"
            )
        return objects

    def image_path(self, name: str) -> Path:
        return super().image_path(view_photo(name))

    def label_map(self, name: str) -> np.ndarray:
        if SEPARATOR not in name:
            return super().label_map(name)
        file_name, number = name.partition("/")[2].split(SEPARATOR, 1)
        objects = self.large_objects
        if file_name not in objects.image_ids or not number.isdecimal() or not 0 < int(number) <= len(CLASS_NAMES):
            raise DataError(
                f"{file_name}{SEPARATOR}{number} is not in {objects.path}; expected <image>{SEPARATOR}<class number>"
            )
        mask = objects.mask(objects.image_ids[file_name], objects.categories[int(number) - 1][0])
        return mask.astype(np.uint8) * np.uint8(int(number))


@LargeObjectTest.register(Coco)
class CocoTest(LargeObjectTest):
    """The images of each class that have large objects of it."""

    index: Coco

    def view(self) -> CocoLargeObjects:
        if isinstance(self.index, CocoLargeObjects):
            return self.index
        return CocoLargeObjects(str(self.index.root), self.index.lists, self.index.allow_unverified_lists)

    def images(self, fold: int) -> LargeObjectImages:
        index = self.view()
        objects = index.large_objects
        images_of = {}
        for number in index.test_classes(fold):
            ids = objects.images_of[objects.categories[number - 1][0]]
            images_of[number] = [f"{FOLDER}/{objects.images[i].file_name}{SEPARATOR}{number}" for i in ids]
        index.require_images(FOLDER, {view_photo(name) for names in images_of.values() for name in names})
        origin = f"drawn from {objects.path.name} (sha256 {objects.sha256})"  # no checksum of the file is published
        return LargeObjectImages(dict(images_of), origin, objects.sha256)
