"""COCO as single protocols see it: image lists, other label maps, boxes, and what is known to be absent."""

import random
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_json, read_text, sha256_file
from fsbench.data.coco_json import annotation_errors
from fsbench.data.dataset import DERIVED, Part
from fsbench.data.episodes.episode import Episode
from fsbench.data.large_objects import SMALLEST_AREA, LargeObjects, read_large_objects
from fsbench.data.list_substitutes import substitute_list
from fsbench.data.segmentations import RASTERISED, RASTERISING, union_mask
from fsbench.datamodules.check.report import some
from fsbench.datamodules.datasets.coco.dataset import CLASS_NAMES, IMAGE_FOLDER, Coco, CocoAll
from fsbench.datamodules.kinds.official import OfficialImageLists
from fsbench.datamodules.kinds.views import SEPARATOR, view_photo
from fsbench.datamodules.lists.official import OFFICIAL, UNVERIFIED, missing_list
from fsbench.datamodules.lists.pfenet import find_image_list
from fsbench.protocols.draws.boxes import SMALLEST_SUPPORT, Box, BoxPools, BoxTest
from fsbench.protocols.draws.fscs import AugmentedSettings
from fsbench.protocols.draws.gfss import ValidationImages, lines_sha256
from fsbench.protocols.draws.large_objects import LargeObjectImages, LargeObjectTest
from fsbench.protocols.draws.presence import KnownAbsence
from fsbench.protocols.episode_rules.image_lists import ImageLists, ReleasedImages

FOLDER = IMAGE_FOLDER["val"]
"""Folder of the tests' images."""
ORDER_SHA256 = "9581a9be3eb085285c76f1f83ae95c912405750e1c6580a75f25518171a7fb24"
"""Checksum of val.txt of gfss's authors."""
View = TypeVar("View", bound=Coco)


def _seen_as(kind: type[View], data: Coco) -> View:
    return data if isinstance(data, kind) else kind(str(data.root), data.lists, data.allow_unverified_lists)


@AugmentedSettings.register(Coco)
class CocoAugmentedSettings(AugmentedSettings):
    threshold = 0.03  # objects of COCO-20i are small


@ImageLists.register(Coco)
class CocoImages(OfficialImageLists):
    """Image lists of the protocol pfenet on COCO-20i: the published ones."""

    data: Coco

    def released(self, part: Part, fold: int) -> ReleasedImages | None:
        """Return the published image list; which classes an image is listed for follows from the painted label maps."""
        data = self.data
        released = find_image_list(data.lists, data.name, part, fold, lambda image: f"{image.parent.name}/{image.name}")
        if released is None:
            return None
        data.require_images(IMAGE_FOLDER[part], set(released.names))
        return replace(released, members=None)


@KnownAbsence.register(Coco)
class CocoAbsence(KnownAbsence):
    """A photo surely lacks a class of which it has no annotation at all, not even of a covered object or a crowd."""

    data: Coco
    words = "no object of the class is annotated, and no crowd"

    def surely_lacks(self, name: str, number: int) -> bool:
        return not any(number in numbers for numbers in self.data.annotated_classes(name))

    def is_whole(self, name: str, number: int) -> bool:  # label maps show no crowds
        return number not in self.data.annotated_classes(name)[1]


def line_of(name: str) -> str:
    """Return the line (photo and label map) that DIaM's list has for the image of this name."""
    path = PurePosixPath(name)
    return f"{path} val/{path.stem}.png"


class CocoFirstPolygons(Coco):
    """COCO-20i with DIaM's label maps, in which each object is only its first polygon."""

    first_polygon_only = True
    label_maps_are = f"{Coco.label_maps_are}. Of an object the first polygon alone is painted"


@ValidationImages.register(Coco)
class CocoValidation(ValidationImages):
    """The 40137 images of DIaM's list `gfss/coco/val.txt`, without it all images, ordered by name (gfss.md §2)."""

    data: Coco

    def view(self) -> CocoFirstPolygons:
        return _seen_as(CocoFirstPolygons, self.data)

    def images(self) -> tuple[Sequence[str], str]:
        data = self.data
        files = [Path(folder).expanduser() / inner / "coco/val.txt" for folder in data.lists for inner in ("gfss", "")]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            substitute_list(
                data, "val", "gfss/coco/val.txt", "all annotated images by name, which draws other supports"
            )
            return data.candidates("val"), DERIVED
        names = [line.split()[0] for line in read_text(path, "list").splitlines() if line.strip()]
        found = lines_sha256([line_of(name) for name in names])
        if found != ORDER_SHA256 and not data.allow_unverified_lists:
            raise missing_list(
                f"list {path} was altered: found sha256 {found}; expected {ORDER_SHA256}; fetch the authors' file "
                "again, or set allow_unverified_lists to use it and have the record say so",
                data.name,
            )
        data.require_images(FOLDER, set(names))
        return names, OFFICIAL if found == ORDER_SHA256 else UNVERIFIED


class CocoClassViews(Coco):
    """COCO-20i whose images are named `<photo>@<class number>`: a photo that counts for one of its classes alone."""

    def image_path(self, name: str) -> Path:
        return super().image_path(view_photo(name))

    def named(self, name: str, known: Container[str]) -> tuple[str, int, str]:
        """Return the photo, the class number and the annotation ("" for none) that an image name stands for."""
        photo, _, rest = name.partition(SEPARATOR)
        number, _, annotation = rest.partition(":")
        if photo not in known or not number.isdecimal() or not 0 < int(number) <= len(CLASS_NAMES):
            raise self.unknown(name)
        return photo, int(number), annotation

    def unknown(self, name: str) -> DataError:
        return DataError(
            f"{name[:200]} is not in {self.annotation_file(FOLDER)}; expected <image>{SEPARATOR}<class number>, and of "
            "a support :<annotation>"
        )


class CocoLargeObjects(CocoClassViews):
    """COCO-20i in the form that the protocol fssdino uses: label maps show only large objects.

    An image name that ends with `@` and a class number shows the large objects of this class alone (fssdino.md §5).
    """

    label_maps_are = f"of one class each: its objects of {SMALLEST_AREA} pixels or more but crowds, {RASTERISED}"
    painting = RASTERISING

    @cached_property
    def large_objects(self) -> LargeObjects:
        self.require_parts(FOLDER)
        objects = read_large_objects(self.annotation_file(FOLDER))
        names = [name for _, name in objects.categories]
        if names != list(CLASS_NAMES):
            raise DataError(
                f"annotation file {objects.path} has {len(names)} categories, {some(names, 3)}; expected COCO's "
                f"{len(CLASS_NAMES)} in their order, which folds go by; fetch the file again"
            )
        return objects

    def label_map(self, name: str) -> np.ndarray:
        if SEPARATOR not in name:
            return super().label_map(name)
        objects = self.large_objects
        file_name, number, _ = self.named(name.partition("/")[2], objects.image_ids)
        mask = objects.mask(objects.image_ids[file_name], objects.categories[number - 1][0])
        return mask.astype(np.uint8) * np.uint8(number)


@LargeObjectTest.register(Coco)
class CocoTest(LargeObjectTest):
    data: Coco

    def view(self) -> CocoLargeObjects:
        return _seen_as(CocoLargeObjects, self.data)

    def images(self, fold: int) -> LargeObjectImages:
        data = self.view()
        objects = data.large_objects
        images_of: dict[int, Sequence[str]] = {}
        for number in data.test_classes(fold):
            ids = objects.images_of[objects.categories[number - 1][0]]
            images_of[number] = [f"{FOLDER}/{objects.images[i].file_name}{SEPARATOR}{number}" for i in ids]
        data.require_images(FOLDER, {view_photo(name) for names in images_of.values() for name in names})
        origin = f"drawn from {objects.path.name} (sha256 {objects.sha256})"  # no checksum of the file is published
        return LargeObjectImages(images_of, origin, objects.sha256)


class AnnotatedObject(NamedTuple):
    """Entry of an annotation file; `segmentation` is None for a crowd, whose pixels are not used."""

    id: int
    image: int
    category: int
    area: float
    is_crowd: bool
    box: Box
    segmentation: Any = None


class AnnotatedObjects:
    """The objects of a COCO annotation file, in its order; a class number is a place in `categories`, from 1."""

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
        """Return the possible queries and supports of each class, in the order of a CPython set of their image ids."""
        targets, supports = {}, {}
        for number, items in self.of_class.items():
            order = list({item.image for item in items})
            shown = [image for image in order if self.plain(image, number)]
            targets[number] = [name_of(image) for image in shown]
            supports[number] = [name_of(image) for image in shown if self.large(image, number)]
        return BoxPools(targets, supports)

    def plain(self, image: int, number: int) -> list[AnnotatedObject]:
        """Return the objects of class `number` in image `image` (an id), without crowds."""
        return [item for item in self.of_image.get((image, number), ()) if not item.is_crowd]

    def large(self, image: int, number: int) -> list[AnnotatedObject]:
        """Return the objects of class `number` in image `image` (an id) that are large enough for a support's box."""
        return [item for item in self.plain(image, number) if item.area > SMALLEST_SUPPORT]


def load_objects(
    objects: AnnotatedObjects, number: int, supports: Sequence[int], has_pixels: bool, rng: random.Random
) -> list[AnnotatedObject] | None:
    """Draw one object of class `number` in each support image; None, without drawing, if the query's mask is empty."""
    return [rng.choice(objects.large(image, number)) for image in supports] if has_pixels else None


class CocoBoxData(CocoClassViews):
    """COCO-20i in the form that the protocol fss_sam3 uses.

    An image name that ends with `@` and a class number shows all objects of this class except crowds; a support's name
    goes on with `:` and the id of the annotation whose box it is labelled with (sam3-canvas.md §4, §6).
    """

    label_maps_are = f"of one class each: all its objects but crowds, {RASTERISED}"
    painting = RASTERISING

    @cached_property
    def annotations(self) -> tuple[AnnotatedObjects, Mapping[int, tuple[str, int, int]], str]:
        """The annotated objects, {image id: (name, height, width)}, and the annotation file's sha256."""
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
        return {name: number for number, (name, _, _) in self.annotations[1].items()}

    def named(self, name: str, known: Container[str]) -> tuple[str, int, str]:
        photo, number, annotation = super().named(name, known)
        if annotation and not (annotation.isdecimal() and int(annotation) in self.annotations[0].by_id):
            raise self.unknown(name)
        return photo, number, annotation

    def label_map(self, name: str) -> np.ndarray:
        if SEPARATOR not in name:
            return super().label_map(name)
        photo, number, _ = self.named(name, self.image_ids)
        return self.mask(self.image_ids[photo], number).astype(np.uint8) * np.uint8(number)

    def mask(self, image: int, number: int) -> np.ndarray:
        """Return the union (H, W) bool of the objects of class `number`, without crowds, in image `image` (an id)."""
        objects, images, _ = self.annotations
        name, height, width = images[image]
        try:
            return union_mask((item.segmentation for item in objects.plain(image, number)), height, width)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{self.annotation_file(FOLDER)} has an unusable mask on {name} ({error}); fetch the file again"
            ) from error


def _object(entry: dict[str, Any]) -> AnnotatedObject:
    is_crowd = bool(entry.get("iscrowd", 0))
    x, y, width, height = (float(value) for value in entry["bbox"])
    segmentation = None if is_crowd else entry["segmentation"]
    key = int(entry["id"]), int(entry["image_id"]), int(entry["category_id"])
    return AnnotatedObject(*key, float(entry["area"]), is_crowd, (x, y, width, height), segmentation)


@BoxTest.register(Coco)
class CocoBoxes(BoxTest):
    """COCO's test for the protocol fss_sam3: images of val2014, and one object's box as the label of each support."""

    data: Coco
    draws_objects = True

    def view(self) -> CocoBoxData:
        return _seen_as(CocoBoxData, self.data)

    @property
    def origin(self) -> str:
        return f"drawn from instances_{FOLDER}.json (sha256 {self.sha256})"  # no checksum of the file is published

    @property
    def sha256(self) -> str:
        return self.view().annotations[2]

    def pools(self) -> BoxPools:
        objects, images, _ = self.view().annotations
        pools = objects.pools(lambda image: images[image][0])
        self.data.require_images(FOLDER, {name for names in pools.targets.values() for name in names})
        return pools

    def load(self, episode: Episode, rng: random.Random) -> Episode | None:
        data = self.view()
        (number,), (names,) = episode.classes, episode.supports
        has_pixels = bool(data.mask(data.image_ids[episode.query], number).any())
        supports = [data.image_ids[name] for name in names]
        drawn = load_objects(data.annotations[0], number, supports, has_pixels, rng)
        if drawn is None:
            return None
        named = tuple(f"{name}{SEPARATOR}{number}:{item.id}" for name, item in zip(names, drawn, strict=True))
        return Episode(episode.number, f"{episode.query}{SEPARATOR}{number}", number, (number,), (named,))

    def box(self, name: str, number: int, mask: np.ndarray) -> Box | None:
        data = self.view()
        annotation = data.named(name, data.image_ids)[2]
        return data.annotations[0].by_id[int(annotation)].box if annotation else None


ImageLists.exclude(CocoAll)  # its lists are those of four folds
LargeObjectTest.exclude(CocoAll)  # whose folds have 20 classes
BoxTest.exclude(CocoAll)  # whose objects are drawn fold after fold
ValidationImages.exclude(CocoAll)  # whose view is COCO-20i
