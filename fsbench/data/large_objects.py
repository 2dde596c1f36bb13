"""The large objects of a COCO annotation file and their masks, as FSSDINO's program reads them (fssdino.md §5).

Crowds, and objects of a stated area below 2·32² pixels, do not exist. Images of a category stand in the order of a
Python set that their ids were added to, which is CPython's own.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_json, sha256_file
from fsbench.data.coco_json import AnnotatedImage, annotation_errors, check_listed, compacting, content_lists, require
from fsbench.data.disk_cache import load_json, save_json
from fsbench.data.segmentations import union_mask

SMALLEST_AREA = 2 * 32**2
"""Area in pixels, as the file states it, below which an object is left out."""
_FORMAT = "large-objects-2"
"""To be changed with the meaning of what is cached, so that older files are not used."""


class LargeObject(NamedTuple):
    """Object of an annotation file with an area of at least 2048 pixels.

    `image` and `category` are COCO ids; `segmentation` is a list of polygons or a run-length mask.
    """

    image: int
    category: int
    segmentation: Any


@dataclass(frozen=True)
class LargeObjects:
    """All objects of a COCO annotation file with an area of at least 2048 pixels.

    Attributes:
        path: the file.
        sha256: the file's checksum.
        categories: (id, name) of each category in the order of the file, which decides the folds.
        images: {image id: file name, id and size of the image}.
        objects: the objects in the order of the file.
    """

    path: Path
    sha256: str
    categories: tuple[tuple[int, str], ...]
    images: Mapping[int, AnnotatedImage]
    objects: tuple[LargeObject, ...]

    @cached_property
    def images_of(self) -> dict[int, list[int]]:
        """{category id: ids of the images with such an object}, in the order of a Python set of these ids."""
        found: dict[int, set[int]] = {category: set() for category, _ in self.categories}
        for item in self.objects:
            found[item.category].add(item.image)
        return {category: list(images) for category, images in found.items()}

    @cached_property
    def image_ids(self) -> dict[str, int]:
        """{file name: image id}."""
        return {image.file_name: number for number, image in self.images.items()}

    @cached_property
    def _segmentations(self) -> dict[tuple[int, int], list[Any]]:
        found = defaultdict(list)
        for item in self.objects:
            found[item.image, item.category].append(item.segmentation)
        return dict(found)

    def mask(self, image: int, category: int) -> np.ndarray:
        """Return the pixels (H, W) bool of a category's large objects in an image, drawn by pycocotools.

        An object that rasterises to nothing becomes one pixel, its first vertex.

        Raises:
            DataError: the file's mask of an object is unusable.
        """
        file_name, _, height, width = self.images[image]
        union = np.zeros((height, width), dtype=bool)
        for segmentation in self._segmentations.get((image, category), []):
            try:
                union |= _raster(segmentation, height, width)
            except (ValueError, TypeError) as error:
                raise DataError(
                    f"{self.path} has an unusable mask on {file_name} ({error}); expected polygons or runs of {height} "
                    f"rows and {width} columns; fetch the file again"
                ) from error
        return union


def _raster(segmentation: Any, height: int, width: int) -> np.ndarray:
    pixels = union_mask([segmentation], height, width)
    if not pixels.any():
        column, row = (int(value) for value in segmentation[0][:2]) if isinstance(segmentation, list) else (0, 0)
        pixels[min(max(row, 0), height - 1), min(max(column, 0), width - 1)] = True
    return pixels


def read_large_objects(path: Path) -> LargeObjects:
    """Return the objects of at least 2048 pixels of a COCO annotation file, from the disk cache if it has them.

    Raises:
        DataError: not a complete JSON file, not instance annotations with areas, or entries that do not fit together.
    """
    with annotation_errors(path, "a complete instances file of COCO's form, with areas; put a sound copy there"):
        sha256 = sha256_file(path)
        kept = load_json(_FORMAT, sha256)
        if kept is None:
            kept = _plain(read_json(path, "annotations", object_hook=compacting(_annotation)))
            save_json(_FORMAT, sha256, kept)
        return _from_plain(kept, path, sha256)


def large_objects(content: Mapping[str, Any]) -> LargeObjects:
    """Return the objects of at least 2048 pixels from the parsed content of a COCO annotation file.

    Raises:
        ValueError: an entry is missing, or entries do not fit together.
    """
    return _from_plain(_plain(content), Path(), "")


def _from_plain(kept: dict[str, Any], path: Path, sha256: str) -> LargeObjects:
    return LargeObjects(
        path,
        sha256,
        tuple((number, name) for number, name in kept["categories"]),
        {image.id: image for image in (AnnotatedImage(*entry) for entry in kept["images"])},
        tuple(LargeObject(*item) for item in kept["objects"]),
    )


_LEFT_OUT = ()
"""Stands for a crowd or a small object."""


def _annotation(entry: dict[str, Any]) -> LargeObject | tuple[()]:
    """Return a large object, or `_LEFT_OUT`. Raises ValueError where an annotation lacks something."""
    keys = ("image_id", "category_id", "segmentation")
    require(entry, (*keys, "area"))
    area = entry["area"]
    if isinstance(area, bool) or not isinstance(area, (int, float)):
        raise ValueError(f"an annotation has the area {str(area)[:40]!r}, not a number")
    if entry.get("iscrowd", 0) or not area >= SMALLEST_AREA:
        return _LEFT_OUT
    return LargeObject(*(entry[key] for key in keys))


def _plain(content: Any) -> dict[str, Any]:
    """Return categories, images and objects as JSON values; ValueError unless they fit together."""
    images, annotations, categories = content_lists(content, _annotation)
    objects = [entry for entry in annotations if entry != _LEFT_OUT]
    known = {image.id for image in images}
    for entry in objects:
        check_listed("an annotation", entry.image, known, entry.category, categories)
    return {"categories": list(categories.items()), "images": images, "objects": objects}
