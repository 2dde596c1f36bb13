"""PASCAL-Part: parts of the objects of VOC 2010 in four folds, its super-classes (incontext-protocol §3.4)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.data.dataset import PairList
from fsbench.data.episodes.task import Classes
from fsbench.data.source import Archive, ByHand, Source
from fsbench.datamodules.kinds.find_folder import find_folder, require_folder
from fsbench.datamodules.kinds.view_episodes import ViewEpisodes
from fsbench.datamodules.kinds.views import SEPARATOR, AnnotatedMask, ViewData, listed_views, view_photo
from fsbench.datamodules.prepare.by_hand import take_file
from fsbench.datamodules.prepare.folders import make_photos
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import has_content
from fsbench.protocols.draws.incontext import EpisodeRun, OwnEpisodes, episodes_of_parts
from fsbench.protocols.draws.presence import KnownAbsence

SUPER_CLASSES = ("animals", "indoor", "person", "vehicles")
"""Names of the folds in `LIST`."""
LIST = "all_obj_part_to_image.json"
ANNOTATIONS = "Annotations_Part_json_merged_part_classes"
PHOTOS = "JPEGImages"
LEFT_OUT = ("aeroplane", "TAIL")
"""The one part that the authors leave out."""
_LIST_FORM = "{super-class: {'object': {object: {'part': {part: {'train': [ids], 'val': [ids]}}}}}}"
_FORM = "{'object': [{'name', 'bndbox': {xmin, ymin, xmax, ymax}, 'parts': [{'name', 'mask': [RLE, …]}]}]}"


class Part(NamedTuple):
    """Class of PASCAL-Part: one part of one kind of object, and the validation images listed for it."""

    fold: int
    kind: str
    part: str
    images: tuple[str, ...]


class PascalPart(ViewData):
    """PASCAL-Part: an image is the box of one object in a photo, and its class is one of the object's parts.

    An image name is `<id>@<place>@<part>`: the photo's id, the object's place in the photo's annotations, and the part.
    Classes are named `<object>+<part>` and numbered in the order of the folds and of the list.

    Args:
        root: Folder VOC2010, or one that holds it, with `all_obj_part_to_image.json`, the folder
            `Annotations_Part_json_merged_part_classes` as Matcher's authors distribute them, and VOC's `JPEGImages`.
    """

    name = "pascal_part"
    folds = 4
    logged_classes: ClassVar[Mapping[int, tuple[int, ...]]] = {1: (31, 4, 5, 16)}
    logged_episodes = (2500, 959, 2500, 2500)
    source = Source(
        archives=(
            Archive(
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
                None,  # none is published
                page="http://host.robots.ox.ac.uk/pascal/VOC/voc2010/",
            ),
        ),
        dataset="pascal_part",
        page="https://github.com/aim-uofa/Matcher",
        by_hand=(
            ByHand("the authors' list", (LIST,), place="<root>"),
            ByHand("the authors' annotations", (ANNOTATIONS,), place="<root>"),
        ),
        holds=(f"VOC2010/{LIST}", f"VOC2010/{ANNOTATIONS}/<id>.json", f"VOC2010/{PHOTOS}/<id>.jpg"),
    )

    def __init__(self, root: str):
        super().__init__(root)
        self.root = require_folder(self.source, self.root, ("VOC2010",), (LIST, ANNOTATIONS, PHOTOS))

    @cached_property
    def _super_classes(self) -> dict[int, list[tuple[str, str, list[str], list[str]]]]:
        """Fold -> (object, part, training ids, validation ids) of all parts in the order of the list."""
        path = self.root / LIST
        with self.reading(path, _LIST_FORM):
            content = read_json(path, "annotations")
            return {
                SUPER_CLASSES.index(name): [
                    (kind, part, [str(i) for i in ids["train"]], [str(i) for i in ids["val"]])
                    for kind, parts in entry["object"].items()
                    for part, ids in parts["part"].items()
                ]
                for name, entry in content.items()
            }

    @cached_property
    def classes(self) -> tuple[Part, ...]:
        """Parts that are listed for training and validation images."""
        return tuple(
            Part(fold, kind, part, tuple(val))
            for fold in sorted(self._super_classes)
            for kind, part, train, val in self._super_classes[fold]
            if train and val and (kind, part) != LEFT_OUT
        )

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{item.kind}+{item.part}" for item in self.classes)

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return [number for number, item in enumerate(self.classes, start=1) if item.fold == fold]

    def listed_images(self, fold: int) -> int:
        """Return how many validation images a fold lists, counting repeats and classes that are left out."""
        return sum(len(val) for *_, val in self._super_classes.get(fold, ()))

    def photo_classes(self) -> Iterator[tuple[str, int]]:
        for number, item in enumerate(self.classes, start=1):
            yield from ((image, number) for image in dict.fromkeys(item.images))

    def class_views(self, photo: str, number: int) -> Sequence[str | None]:
        """Return an image name for each object of the class's kind in a photo; None for an object without the part."""
        wanted = self.classes[number - 1]
        return [
            f"{photo}{SEPARATOR}{place}{SEPARATOR}{wanted.part}"
            if any(part["name"] == wanted.part for part in item["parts"])
            else None
            for place, item in enumerate(self._annotated(photo))
            if item["name"] == wanted.kind
        ]

    def may_show(self, name: str, number: int) -> bool:
        """Return whether the image `name` (an object's box) may show class `number`, on the object or on another one.

        An object shows a part somewhere in its own box; one without any annotated part may show all parts of its kind.
        """
        wanted, box, photo = self.classes[number - 1], self.crop(name), view_photo(name)
        for place, item in enumerate(self._annotated(photo)):
            shows = not item["parts"] or any(part["name"] == wanted.part for part in item["parts"])
            if item["name"] == wanted.kind and shows and _meet(box, self.crop(f"{photo}{SEPARATOR}{place}{SEPARATOR}")):
                return True
        return False

    @property
    def annotation_files(self) -> Sequence[Path]:
        return [self.root / LIST, *map(self.label_file, sorted(self.listed_photos()))]

    def image_path(self, name: str) -> Path:
        return self.root / PHOTOS / f"{view_photo(name)}.jpg"

    def label_file(self, name: str) -> Path:
        return self.root / ANNOTATIONS / f"{view_photo(name)}.json"

    def class_number(self, name: str) -> int:
        item, part = self._view(name)
        return self.class_names.index(f"{item['name']}+{part}") + 1

    def crop(self, name: str) -> tuple[slice, slice]:
        with self.reading(self.label_file(name), _FORM):
            # in the order of the file, whatever the keys
            left, top, right, bottom = map(int, self._view(name)[0]["bndbox"].values())
            return slice(top, bottom), slice(left, right)

    def masks(self, name: str) -> Sequence[AnnotatedMask]:
        item, wanted = self._view(name)
        masks = (mask for part in item["parts"] if part["name"] == wanted for mask in part["mask"])
        return [AnnotatedMask(f"mask {place} of the part", mask) for place, mask in enumerate(masks)]

    def _view(self, name: str) -> tuple[dict[str, Any], str]:
        photo, place, part = (*name.split(SEPARATOR), "", "")[:3]
        objects = self._annotated(photo)
        if not place.isdecimal() or int(place) >= len(objects):
            raise DataError(f"{name} is no image of PASCAL-Part; expected <id>{SEPARATOR}<object>{SEPARATOR}<part>")
        return objects[int(place)], part

    def _annotated(self, image: str) -> list[dict[str, Any]]:
        return _read_objects(self.root / ANNOTATIONS / f"{image}.json")

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack VOC's photos of 2010 beside the authors' annotations, which must exist; return remarks."""
        root, voc = find_folder(job.root / "VOC2010", (), ()) or job.root, cls.source.archives[0]
        take_file(job, LIST, cls.source, root)
        if not has_content(root / ANNOTATIONS):
            raise cls.source.missing(f"{root} has no {ANNOTATIONS}; expected the authors' folder of annotations")
        if not has_content(root / PHOTOS):
            make_photos(job, voc, root / PHOTOS, "VOC's photos of 2010")
        return [f"{LIST}, {voc.name}: no checksum is published"]


@OwnEpisodes.register(PascalPart)
class PascalPartEpisodes(ViewEpisodes):
    data: PascalPart

    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        data = self.data
        numbers = data.test_classes(fold)
        names_of = {number: data.classes[number - 1].images for number in numbers}
        drawn = episodes_of_parts(names_of, data.class_views, shot=shot, seed=seed)
        return self.episode_run(numbers, data.listed_images(fold), drawn)


@KnownAbsence.register(PascalPart)
class PascalPartAbsence(KnownAbsence):
    """Which parts an object's box surely lacks, for tests in which half of the queries lack the class."""

    data: PascalPart
    words = (
        "no object whose box reaches into that of the view shows the part; an object of its kind without any annotated "
        "part is unknown"
    )

    def own_pairs(self, classes: Classes, fold: int, shot: int) -> PairList:
        novel = self.data.test_classes(fold)
        numbers = range(1, len(self.data.classes) + 1)
        return listed_views(self._views(number for number in numbers if (number in novel) == (classes == "novel")))

    def _views(self, numbers: Iterable[int]) -> Iterator[tuple[str, int]]:
        for number in numbers:
            for photo in dict.fromkeys(self.data.classes[number - 1].images):
                yield from ((view, number) for view in self.data.class_views(photo, number) if view is not None)

    def surely_lacks(self, name: str, number: int) -> bool:
        self.data.check_masks(name)
        return not self.data.is_empty(name) and not self.data.may_show(name, number)

    def is_whole(self, name: str, number: int) -> bool:
        return not self.data.is_empty(name) and bool(self.data.label_map(name).any())


def _meet(box: tuple[slice, slice], other: tuple[slice, slice]) -> bool:
    return all(max(a.start, b.start) < min(a.stop, b.stop) for a, b in zip(box, other, strict=True))


@lru_cache(maxsize=20_000)
def _read_objects(path: Path) -> list[dict[str, Any]]:
    with PascalPart.reading(path, _FORM):
        objects = list(read_json(path, "annotations")["object"])
        for item in objects:
            named = [item["name"], *(part["name"] for part in item["parts"])]
            masks = [part["mask"] for part in item["parts"]]
            if not all(isinstance(name, str) for name in named) or not all(isinstance(mask, list) for mask in masks):
                raise ValueError("an object or a part has no name, or a part no list of masks")
        return objects
