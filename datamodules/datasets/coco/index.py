"""COCO-20i: COCO 2014, 80 classes in four interleaved folds, label maps painted from the annotations."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.coco_instances import Instances, cached_instances
from fsbench.data.coco_json import read_instances
from fsbench.data.dataset import Pair, PairList, Part, QuerySampling
from fsbench.data.source import dataset_package, missing
from fsbench.datamodules.indexes.official import OfficialIndex
from fsbench.datamodules.indexes.views import view_photo
from fsbench.datamodules.lists.official import default_lists
from fsbench.datamodules.lists.pfenet import MIN_PIXELS
from fsbench.datamodules.lists.pixel_counts import PixelTable, count_labels, pixel_table

_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
CLASS_NAMES = tuple(_NAMES.split(","))
"""In ascending category id."""
IMAGE_FOLDER = {"trn": "train2014", "val": "val2014"}
"""Folder of each part's images."""
_PAINTING = "fillPoly of truncated vertices, ascending ids, no crowd; 1"


class Coco(OfficialIndex):
    """COCO-20i (fscs-protocol §1, §2). Fold f tests classes f+1, f+5, …, f+77; a name is `val2014/COCO_val2014_….jpg`.

    Args:
        root: Folder with `train2014`, `val2014` and `annotations/instances_{train,val}2014.json`. The training part is
            needed only where training images are asked for.
        lists: Folders with official lists (see `read_official`). None takes the folder `lists` in `root` where there is
            one. Lists that are derived from the annotations have another order, which makes other episodes.
        allow_unverified_lists: Use lists whose checksum is not the official one; the record says so.
    """

    name = "coco"
    class_names = CLASS_NAMES
    folds = 4
    classes_of_fold = 20
    has_published_protocol = True
    query_sampling: QuerySampling = "class_first"
    min_pixels = MIN_PIXELS
    knows_objects: ClassVar[bool] = True
    list_order = "class"
    label_maps_are: ClassVar[str] = (
        "painted from the polygons of the annotation file, by ascending id, a later object over an earlier one: "
        "OpenCV's fillPoly on vertices truncated to whole numbers, crowds left out. pycocotools' own masks differ from "
        "them in 1.3 % of the pixels of objects, by which a method's mIoU moved by .07"
    )
    image_folders: ClassVar[tuple[str, ...]] = tuple(IMAGE_FOLDER.values())
    """Folders of the images that trainings and tests of the data set take."""
    first_polygon_only: ClassVar[bool] = False
    """Label maps show the first polygon of an object alone."""

    def __init__(self, root: str, lists: list[str] | None = None, allow_unverified_lists: bool = False):
        self.root = Path(root).expanduser()
        self.lists = default_lists(lists, self.root)
        self.derives_lists = lists == []
        self.allow_unverified_lists = allow_unverified_lists
        self._instances: dict[str, Instances] = {}
        self._tables: dict[str, PixelTable] = {}
        if not self.root.is_dir():
            expected = f"{', '.join(self.image_folders)} and annotations in it"
            raise missing(f"the COCO folder {root} does not exist; expected {expected}", dataset_package(self))
        if all(self._absent_parts(folder) for folder in self.image_folders):
            self.require_parts("val2014")

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(range(fold + 1, len(CLASS_NAMES) + 1, self.folds))

    def candidates(self, part: Part) -> Sequence[str]:
        """Return all annotated images of the part, names ascending."""
        return self._table(IMAGE_FOLDER[part]).names

    def image_path(self, name: str) -> Path:
        return self.root / name

    def label_file(self, name: str) -> Path:
        return self.annotation_file(name.partition("/")[0])

    def label_map(self, name: str) -> np.ndarray:
        folder, _, file_name = name.partition("/")
        instances = self._annotations(folder)
        if file_name not in instances.rows:
            raise DataError(
                f"image {name} is not in {instances.path}; expected an annotated image; use the complete annotation "
                "file, or lists made from the same images"
            )
        return instances.paint(file_name, self.first_polygon_only)

    def annotated_classes(self, name: str) -> tuple[frozenset[int], frozenset[int]]:
        """Return the classes of all objects of image `name`, those that others cover included, and of its crowds."""
        folder, _, file_name = name.partition("/")
        return self._annotations(folder).annotated_classes(file_name)

    def object_masks(self, name: str, number: int) -> Sequence[np.ndarray]:
        folder, _, file_name = view_photo(name).partition("/")
        return list(self._annotations(folder).objects(file_name, number, self.first_polygon_only))

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        table = self._tables.get(name.partition("/")[0])
        return table.class_pixels(name) if table and name in table else super().class_pixels(name)

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        self._table(IMAGE_FOLDER[part])

    def has_published_list(self, split: str, fold: int) -> bool:
        unknown = split == "pfenet-trn" and not self.derives_lists  # of which no checksum is known
        return super().has_published_list(split, fold) or unknown

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        self.require_images(IMAGE_FOLDER["trn" if "trn" in split else "val"], {name for name, _ in pairs})
        return super().list_origin(pairs, split, fold)

    def check_released(self, pairs: PairList, split: str, fold: int) -> None:
        foreign = set(pairs.images_of).difference(
            self.train_classes(fold) if split == "trn" else self.test_classes(fold)
        )
        folder = IMAGE_FOLDER["trn" if split == "trn" else "val"]
        names = {name for name, _ in pairs.pairs}
        if foreign:
            raise DataError(
                f"the list {split}/fold{fold} has the class {self.name_of(min(foreign))}; expected the classes of fold "
                f"{fold}; fetch the authors' file again"
            )
        self.check_images(names, folder, f"the list {split}/fold{fold}")

    def check_images(self, names: set[str], folder: str, source: str) -> None:
        """Raise DataError unless all `names` are photos of `folder` with an entry in its annotation file."""
        foreign = [name for name in names if not name.startswith(f"{folder}/")]
        if foreign:
            raise DataError(f"{source} has {min(foreign)}; expected images of {folder}; fetch the authors' file again")
        self.require_images(folder, names)
        known = self._annotations(folder).rows
        without = sorted(name for name in names if name.partition("/")[2] not in known)
        if without:
            raise DataError(
                f"{source} has {len(without)} images without an entry in {self.annotation_file(folder)}: "
                f"{without[0]}; expected the complete annotation file; fetch it again"
            )

    def _table(self, folder: str) -> PixelTable:
        if folder not in self._tables:
            instances = self._annotations(folder)
            self._tables[folder] = pixel_table(
                [f"{folder}/{file_name}" for file_name in instances.file_names],
                lambda name: count_labels(self.label_map(name)),
                fingerprint=f"{_PAINTING}{', first polygon' * self.first_polygon_only} {instances.sha256}",
                description=f"Painting {folder} and counting class pixels",
            )
        return self._tables[folder]

    def _annotations(self, folder: str) -> Instances:
        if folder not in self._instances:
            self.require_parts(folder)
            self._instances[folder] = cached_instances(
                self.annotation_file(folder), partial(read_instances, class_names=CLASS_NAMES)
            )
        return self._instances[folder]

    def annotation_file(self, folder: str) -> Path:
        return self.root / "annotations" / f"instances_{folder}.json"

    def _absent_parts(self, folder: str) -> list[str]:
        file = self.annotation_file(folder)
        absent = [] if file.is_file() else [f"annotations/{file.name}"]
        return absent + ([] if (self.root / folder).is_dir() else [f"{folder}/"])

    def require_parts(self, folder: str) -> None:
        absent = self._absent_parts(folder)
        if absent:
            raise missing(
                f"{self.root} has no {' and no '.join(absent)}; expected {folder}/ with the photos and "
                f"annotations/instances_{folder}.json",
                dataset_package(self),
            )

    def require_images(self, folder: str, names: set[str]) -> None:
        absent = sorted(names - self._image_names[folder])
        if absent:
            raise missing(
                f"{len(absent)} of {len(names)} listed images are not in {self.root}: "
                f"{absent[0]}{', …' * (len(absent) > 1)}; expected all photos of {folder}",
                dataset_package(self),
            )

    @cached_property
    def _image_names(self) -> dict[str, frozenset[str]]:
        """Folder -> the names of its images; listed once: 100,000 single look-ups are slow on a network."""
        return {
            folder: frozenset(f"{folder}/{path.name}" for path in (self.root / folder).glob("*.jpg"))
            for folder in IMAGE_FOLDER.values()
        }
