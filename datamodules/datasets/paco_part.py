"""PACO-Part: parts of objects in four folds (incontext-protocol §3.5)."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from fsbench.base.errors import DataError
from fsbench.base.files import sha256_file
from fsbench.data.disk_cache import load_json, save_json
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.coco_views import PHOTOS_2017, CocoViews
from fsbench.datamodules.kinds.find_folder import require_folder
from fsbench.datamodules.kinds.view_episodes import ViewEpisodes
from fsbench.datamodules.kinds.views import SEPARATOR, AnnotatedMask
from fsbench.datamodules.lists.plain_pickle import read_annotation_pickle
from fsbench.datamodules.prepare.by_hand import take_file
from fsbench.datamodules.prepare.job import Job
from fsbench.protocols.draws.incontext import EpisodeRun, OwnEpisodes, episodes_of_objects

FILES = {part: f"paco/paco_part_{part}.pkl" for part in ("train", "val")}
CATEGORIES = 448
"""Part categories of the training file, whose order makes the folds."""
_FORM = (
    "a pickle of {'cid2img': {category id: [{image id: path}, …]}, 'img2anno': {image id: [{'category_id', "
    "'obj_ann_id', 'obj_bbox', 'segmentation'}]}}"
)
_KEPT = "instances-1"
"""Kind of the cached order of categories, to be changed with its form: the training file has hundreds of megabytes."""


class PacoPart(CocoViews):
    """PACO-Part: an image is the box of one object in a photo, and its class is one kind of part.

    An image name is `val2017/<photo>.jpg@<category id>@<object id>`. A class number is the category's place in the
    training file.

    Fold f of a K-shot test holds the categories f, f + 4, … of the training file that have more than K images in the
    validation file: tests with different K may be about different classes.

    Args:
        root: Folder with `paco/paco_part_{train,val}.pkl` as Matcher's authors distribute them, and COCO's photos in
            `coco/val2017` and `coco/train2017`; paths in the files say which a photo is in.
    """

    name = "paco_part"
    folds = 4
    logged_classes: ClassVar[Mapping[int, tuple[int, ...]]] = {1: (79, 82, 66, 76)}
    logged_episodes = (2500,) * 4
    source = Source(
        archives=PHOTOS_2017,
        dataset="paco_part",
        page="https://github.com/aim-uofa/Matcher",
        by_hand=tuple(ByHand("the authors' annotations", (Path(file).name,)) for file in FILES.values()),
        holds=(*FILES.values(), "coco/val2017/", "coco/train2017/"),
    )

    def __init__(self, root: str):
        super().__init__(root)
        expected = f"{' and '.join(FILES.values())}, and the photos coco/{{train,val}}2017"
        require_folder(self.source, self.root, (), (*FILES.values(), "coco"), expected)

    @cached_property
    def category_ids(self) -> list[int]:
        """Category ids in the order of the training file."""
        path = self.root / FILES["train"]
        sha256 = sha256_file(path)
        kept = load_json(_KEPT, sha256)
        if isinstance(kept, list) and len(kept) == CATEGORIES and all(type(key) is int for key in kept):
            return kept
        with self._reading("train"):
            keys = [int(key) for key in self._read("train")["cid2img"]]
            if len(keys) != CATEGORIES:
                raise ValueError(f"it has {len(keys)} categories instead of {CATEGORIES}")
        save_json(_KEPT, sha256, keys)
        return keys

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"category {key}" for key in self.category_ids)

    @cached_property
    def _val(self) -> dict[str, Any]:
        return self._read("val")

    @cached_property
    def _images(self) -> dict[int, dict[Hashable, str]]:
        """Category id -> {image id: photo}, the first entry of each image alone."""
        images: dict[int, dict[Hashable, str]] = {}
        with self._reading("val"):
            for key, entries in self._val["cid2img"].items():
                own = images.setdefault(key, {})
                for image, path in (item for entry in entries for item in entry.items()):
                    own.setdefault(image, "/".join(Path(path).parts[-2:]))
        return images

    @cached_property
    def _image_ids(self) -> dict[str, Hashable]:
        """Photo -> image id."""
        return {photo: image for images in self._images.values() for image, photo in images.items()}

    def fold_classes(self, fold: int, shot: int) -> list[int]:
        """Return the class numbers of `fold` whose categories have more than `shot` images, ascending."""
        self.check_fold(fold)
        numbers = range(fold + 1, len(self.category_ids) + 1, self.folds)
        return [number for number in numbers if len(self._images.get(self.category_ids[number - 1], ())) > shot]

    def photo_classes(self) -> Iterator[tuple[str, int]]:
        for fold in range(self.folds):
            for number in self.fold_classes(fold, 1):
                yield from ((photo, number) for photo in self.photos(number))

    def test_classes(self, fold: int) -> list[int]:
        return self.fold_classes(fold, 1)

    def photos(self, number: int) -> list[str]:
        return [*self._images[self.category_ids[number - 1]].values()]

    def class_views(self, photo: str, number: int) -> Sequence[str]:
        """Return the image names of class `number` in a photo: one for each object that has the part.

        Where none has it, DataError is raised: the authors' programs stop, too.
        """
        key = self.category_ids[number - 1]
        views = [f"{photo}{SEPARATOR}{key}{SEPARATOR}{item}" for item in self._objects(self._image_ids[photo], key)]
        with self._reading("val"):
            if not views:
                raise ValueError(f"it lists {photo} for category {key}, of which that has no annotation")
        return views

    def _objects(self, image: Hashable, key: int) -> dict[str, list[dict[str, Any]]]:
        """Return the annotations of a category in an image by object, objects in order of appearance."""
        objects: dict[str, list[dict[str, Any]]] = {}
        with self._reading("val"):
            for annotation in self._val["img2anno"].get(image, ()):
                if annotation["category_id"] == key:
                    objects.setdefault(str(annotation["obj_ann_id"]), []).append(annotation)
        return objects

    @property
    def annotation_files(self) -> Sequence[Path]:
        return [self.root / file for file in FILES.values()]

    def label_file(self, name: str) -> Path:
        return self.root / FILES["val"]

    def class_number(self, name: str) -> int:
        return self.category_ids.index(int(name.split(SEPARATOR)[1])) + 1

    def crop(self, name: str) -> tuple[slice, slice]:
        with self._reading("val"):
            x, y, width, height = map(float, self._view(name)[0]["obj_bbox"])
            return slice(int(y), int(y + height)), slice(int(x), int(x + width))

    def masks(self, name: str) -> Sequence[AnnotatedMask]:
        item = name.rpartition(SEPARATOR)[2]
        return [
            AnnotatedMask(f"annotation {annotation.get('id', place)} of object {item}", annotation.get("segmentation"))
            for place, annotation in enumerate(self._view(name))
        ]

    def _view(self, name: str) -> list[dict[str, Any]]:
        photo, *parts = name.split(SEPARATOR)
        image = self._image_ids.get(photo)
        if len(parts) == 2 and parts[0].isdecimal() and image is not None:
            objects = self._objects(image, int(parts[0]))
            if parts[1] in objects:
                return objects[parts[1]]
        raise DataError(
            f"{name} is no image of {self.root / FILES['val']}; expected <photo>{SEPARATOR}<category id>{SEPARATOR}"
            "<object id> of an annotated object"
        )

    def _read(self, part: str) -> dict[str, Any]:
        content = read_annotation_pickle(self.root / FILES[part], _FORM)
        with self._reading(part):
            return {key: dict(content[key]) for key in ("cid2img", "img2anno")}

    def _reading(self, part: str) -> AbstractContextManager[None]:
        return self.reading(self.root / FILES[part], _FORM)

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        for file in FILES.values():
            take_file(job, file, cls.source)
        remarks = [f"{file}: no checksum is published" for file in FILES.values()]
        return remarks + cls.provide_photos(job, FILES["val"])


@OwnEpisodes.register(PacoPart)
class PacoPartEpisodes(ViewEpisodes):
    data: PacoPart

    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        data = self.data
        numbers = data.fold_classes(fold, shot)
        photos_of = {number: data.photos(number) for number in numbers}
        drawn = episodes_of_objects(photos_of, data.class_views, data.is_empty, shot=shot, seed=seed)
        return self.episode_run(numbers, None, drawn)
