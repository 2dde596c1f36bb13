"""COCO-20i under the protocol fss_sam3: one annotated object of each support (sam3-canvas.md §4, §6)."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_json, sha256_file
from fsbench.data.coco_json import annotation_errors
from fsbench.data.episodes.episode import Episode
from fsbench.data.segmentations import RASTERISED, union_mask
from fsbench.datamodules.datasets.coco.index import CLASS_NAMES, Coco
from fsbench.datamodules.indexes.views import SEPARATOR, view_photo
from fsbench.protocols.draws.boxes import SMALLEST_SUPPORT, Box, BoxPools, BoxTest

FOLDER = "val2014"
"""Folder of the test's images."""


class AnnotatedObject(NamedTuple):
    """An entry of the annotation file; `segmentation` is None of a crowd, whose pixels nobody asks for."""

    id: int
    image: int
    category: int
    area: float
    is_crowd: bool
    box: Box
    segmentation: Any = None


class AnnotatedObjects:
    """The objects of an annotation file, in its order.

    Args:
        objects: all entries.
        categories: ids of the categories, ascending; a class number is a place among them, from 1.
    """

    def __init__(self, objects: Iterable[AnnotatedObject], categories: Sequence[int]):
        self.number = {category: number for number, category in enumerate(categories, 1)}
        self.of_class: dict[int, list[AnnotatedObject]] = defaultdict(list)
        self.of_image: dict[tuple[int, int], list[AnnotatedObject]] = defaultdict(list)
        self.by_id: dict[int, AnnotatedObject] = {}
        for item in objects:
            number = self.number[item.category]
            self.of_class[number].append(item)
            self.of_image[item.image, number].append(item)
            self.by_id[item.id] = item

    def pools(self, name_of: Callable[[int], str]) -> BoxPools:
        """Return the images of each class in CPython's order of the set that their ids were added to (§6.2).

        Args:
            name_of: gives the name of an image.
        """
        targets, supports = {}, {}
        for number, items in self.of_class.items():
            order = list({item.image for item in items})
            shown = [image for image in order if self.plain(image, number)]
            targets[number] = [name_of(image) for image in shown]
            supports[number] = [name_of(image) for image in shown if self.large(image, number)]
        return BoxPools(targets, supports)

    def plain(self, image: int, number: int) -> list[AnnotatedObject]:
        """Return the objects of a class in an image, without crowds."""
        return [item for item in self.of_image.get((image, number), ()) if not item.is_crowd]

    def large(self, image: int, number: int) -> list[AnnotatedObject]:
        """Return those of them that may be a support's box."""
        return [item for item in self.plain(image, number) if item.area > SMALLEST_SUPPORT]


def load_objects(
    objects: AnnotatedObjects, number: int, supports: Sequence[int], has_pixels: bool, rng: random.Random
) -> list[AnnotatedObject] | None:
    """Draw an object of each support (§6.3); None, with nothing drawn, where the query's mask `has_pixels` not."""
    return [rng.choice(objects.large(image, number)) for image in supports] if has_pixels else None


class CocoBoxIndex(Coco):
    """COCO-20i as the test sees it.

    A name that ends with `@` and a class number shows all objects of this class but crowds; of a support, `:` and the
    number of the annotation whose box it has follow.
    """

    label_maps_are = f"of one class each: all its objects but crowds, {RASTERISED}"

    @cached_property
    def annotations(self) -> tuple[AnnotatedObjects, Mapping[int, tuple[str, int, int]], str]:
        """The objects of the file, id -> name, height and width of each image, and the file's sha256."""
        self.require_parts(FOLDER)
        path = self.annotation_file(FOLDER)
        form = f"a complete instances file of COCO's form with {len(CLASS_NAMES)} categories; fetch it again"
        with annotation_errors(path, form):
            content = read_json(path, "annotations")
            categories = sorted(int(category["id"]) for category in content["categories"])
            if len(categories) != len(CLASS_NAMES):
                raise ValueError(f"it has {len(categories)} categories")
            images = {
                int(image["id"]): (f"{FOLDER}/{image['file_name']}", int(image["height"]), int(image["width"]))
                for image in content["images"]
            }
            objects = AnnotatedObjects(map(_object, content["annotations"]), categories)
            unknown = next((item for item in objects.by_id.values() if item.image not in images), None)
            if unknown is not None:
                raise ValueError(f"annotation {unknown.id} is on image {unknown.image}, which is not listed")
        return objects, images, sha256_file(path)

    @cached_property
    def image_ids(self) -> dict[str, int]:
        """Id of each image by its name."""
        return {name: number for number, (name, _, _) in self.annotations[1].items()}

    def image_path(self, name: str) -> Path:
        return super().image_path(view_photo(name))

    def label_map(self, name: str) -> np.ndarray:
        if SEPARATOR not in name:
            return super().label_map(name)
        number, image, _ = self.parts(name)
        return self.mask(image, number).astype(np.uint8) * np.uint8(number)

    def mask(self, image: int, number: int) -> np.ndarray:
        """Return the union (H, W) bool of an image's objects of a class, without crowds."""
        objects, images, _ = self.annotations
        name, height, width = images[image]
        try:
            return union_mask((item.segmentation for item in objects.plain(image, number)), height, width)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{self.annotation_file(FOLDER)} has an unusable mask on {name} ({error}); fetch the file again"
            ) from error

    def parts(self, name: str) -> tuple[int, int, int | None]:
        """Return class number, image id and annotation id of a name; DataError where the file lacks them."""
        photo, _, rest = name.partition(SEPARATOR)
        number, _, annotation = rest.partition(":")
        objects = self.annotations[0]
        known = photo in self.image_ids and number.isdecimal() and 0 < int(number) <= len(CLASS_NAMES)
        if not known or (annotation and not (annotation.isdecimal() and int(annotation) in objects.by_id)):
            raise DataError(
                f"{name[:200]} is not in {self.annotation_file(FOLDER)}; expected <image>{SEPARATOR}<class number>, "
                "and of a support :<annotation>"
            )
        return int(number), self.image_ids[photo], int(annotation) if annotation else None


def _object(entry: dict[str, Any]) -> AnnotatedObject:
    is_crowd = bool(entry.get("iscrowd", 0))
    x, y, width, height = (float(value) for value in entry["bbox"])
    segmentation = None if is_crowd else entry["segmentation"]
    key = int(entry["id"]), int(entry["image_id"]), int(entry["category_id"])
    return AnnotatedObject(*key, float(entry["area"]), is_crowd, (x, y, width, height), segmentation)


@BoxTest.register(Coco)
class CocoBoxes(BoxTest):
    """Images of val2014, and the box of one object of each support."""

    index: Coco
    draws_objects = True

    def view(self) -> CocoBoxIndex:
        if isinstance(self.index, CocoBoxIndex):
            return self.index
        return CocoBoxIndex(str(self.index.root), self.index.lists, self.index.allow_unverified_lists)

    @property
    def origin(self) -> str:
        return f"drawn from instances_{FOLDER}.json (sha256 {self.sha256})"  # no checksum of the file is published

    @property
    def sha256(self) -> str:
        return self.view().annotations[2]

    def pools(self) -> BoxPools:
        objects, images, _ = self.view().annotations
        pools = objects.pools(lambda image: images[image][0])
        self.index.require_images(FOLDER, {name for names in pools.targets.values() for name in names})
        return pools

    def load(self, episode: Episode, rng: random.Random) -> Episode | None:
        index = self.view()
        (number,), (names,) = episode.classes, episode.supports
        has_pixels = bool(index.mask(index.image_ids[episode.query], number).any())
        supports = [index.image_ids[name] for name in names]
        drawn = load_objects(index.annotations[0], number, supports, has_pixels, rng)
        if drawn is None:
            return None
        named = tuple(f"{name}{SEPARATOR}{number}:{item.id}" for name, item in zip(names, drawn, strict=True))
        return Episode(episode.index, f"{episode.query}{SEPARATOR}{number}", number, (number,), (named,))

    def box(self, name: str, number: int, mask: np.ndarray) -> Box | None:
        index = self.view()
        annotation = index.parts(name)[2]
        return None if annotation is None else index.annotations[0].by_id[annotation].box
