"""COCO-20i: COCO 2014, 80 classes in four interleaved folds, label maps painted from the annotations."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import sha256_file
from fsbench.data.coco_instances import CocoInstances, cached_instances
from fsbench.data.coco_json import read_instances
from fsbench.data.dataset import Pair, PairList, Part, QuerySampling
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.painting import PAINTING
from fsbench.data.published import class_names, class_pairs
from fsbench.data.source import Archive, Source
from fsbench.datamodules.check.lists import check_lists
from fsbench.datamodules.check.media import check_files, report_absent
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.kinds.binary_masks import CountedOnce
from fsbench.datamodules.kinds.find_folder import require_folder
from fsbench.datamodules.kinds.official import JoinedFolds, OfficialData
from fsbench.datamodules.kinds.views import view_photo
from fsbench.datamodules.lists.official import default_lists, joined_lists
from fsbench.datamodules.lists.pfenet import MIN_PIXELS
from fsbench.datamodules.prepare.folders import make_photos
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.label_images import render
from fsbench.datamodules.prepare.list_files import provide_lists
from fsbench.datamodules.prepare.making import has_content, making_place, publish_into, remove_leftover
from fsbench.datamodules.prepare.unpack import unpack

CLASS_NAMES = class_names("coco")
"""In ascending category id."""
IMAGE_FOLDER = {"trn": "train2014", "val": "val2014"}
"""Folder of each part's images."""
_IMAGES = {"train2014": 82783, "val2014": 40504}
"""Images of each part of the official data."""
PAIRS_OF_CLASSES = class_pairs("coco")
"""Split -> number of pairs of class 1, 2, … in the official lists (fscs-protocol §2.1)."""
_TRAIN = Archive("http://images.cocodataset.org/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88")
_VAL = Archive("http://images.cocodataset.org/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3")
_ANNOTATIONS = Archive(
    "http://images.cocodataset.org/annotations/annotations_trainval2014.zip", "0a379cfc70b0e71301e0f377548639bd"
)


class Coco(CountedOnce, OfficialData):
    """COCO-20i (fscs-protocol §1): fold f tests classes f+1, f+5, …, f+77; images are `val2014/COCO_val2014_….jpg`.

    Args:
        root: Folder with `train2014`, `val2014` and `annotations/instances_{train,val}2014.json`. The training files
            are needed only for training.
        lists: Folders with official lists (see `read_official`). None takes the folder `lists` in `root` if it exists.
            Without official lists they are derived from the annotations, in another order, which makes other episodes.
        allow_unverified_lists: Use lists whose checksum is not the official one; the run's record states this.
    """

    name = "coco"
    class_names = CLASS_NAMES
    folds = 4
    classes_of_fold = 20
    folds_in_turn = True
    has_published_protocol = True
    query_sampling: QuerySampling = "class_first"
    min_pixels = MIN_PIXELS
    knows_objects: ClassVar[bool] = True
    list_order = "class"
    label_maps_are: ClassVar[str] = (
        "painted from the polygons of the annotation file, by ascending id, a later object over an earlier one, by "
        f"{PAINTING} on vertices truncated to whole numbers, crowds left out. pycocotools' own masks differ from "
        "them in 1.3 % of the pixels of objects, by which a method's mIoU moved by .07"
    )
    painting = PAINTING
    image_folders: ClassVar[tuple[str, ...]] = tuple(IMAGE_FOLDER.values())
    """Folders of the images that trainings and tests of the data set take."""
    first_polygon_only: ClassVar[bool] = False
    """Label maps show the first polygon of an object alone."""
    list_folder: ClassVar[str] = ""
    """Folder of the released list files that `fsbench data prepare` takes; "" takes all."""
    checked_splits: ClassVar[tuple[str, ...]] = ("val", *SIZE_BINS, "pfenet-val")
    """Splits whose lists `fsbench data check` compares, beside those of training."""
    source = Source(
        archives=(_TRAIN, _VAL, _ANNOTATIONS),
        dataset="coco",
        page="https://cocodataset.org/#download",
        holds=(
            "train2014/",
            "val2014/",
            "annotations/instances_train2014.json",
            "annotations/instances_val2014.json",
        ),
        lists="coco",
    )

    def __init__(self, root: str, lists: list[str] | None = None, allow_unverified_lists: bool = False):
        self.root = Path(root).expanduser()
        self.use_lists(lists, allow_unverified_lists, self.root)
        self._instances: dict[str, CocoInstances] = {}
        require_folder(self.source, self.root, (), (), f"{', '.join(self.image_folders)} and annotations")
        if all(self._absent_parts(folder) for folder in self.image_folders):
            self.require_parts("val2014")

    def candidates(self, part: Part) -> Sequence[str]:
        """Return the names of all annotated images of a part ("trn" or "val"), ascending."""
        folder = IMAGE_FOLDER[part]
        return [f"{folder}/{file_name}" for file_name in self._annotations(folder).file_names]

    def image_path(self, name: str) -> Path:
        return self.root / name

    def label_file(self, name: str) -> Path:
        return self.annotation_file(name.partition("/")[0])

    def label_map(self, name: str) -> np.ndarray:
        folder, _, file_name = name.partition("/")
        instances = self._annotations(folder)
        if file_name not in instances.rows:
            raise DataError(f"image {name} is not in {instances.path}; expected an annotated one; fetch the file again")
        return instances.paint(file_name, self.first_polygon_only)

    def annotated_classes(self, name: str) -> tuple[frozenset[int], frozenset[int]]:
        """The classes of an image's objects, also covered ones, and of its crowds."""
        folder, _, file_name = name.partition("/")
        return self._annotations(folder).annotated_classes(file_name)

    def object_masks(self, name: str, number: int) -> Sequence[np.ndarray]:
        folder, _, file_name = view_photo(name).partition("/")
        return list(self._annotations(folder).objects(file_name, number, self.first_polygon_only))

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        super().count_pixels(part, self.candidates(part))

    def has_published_list(self, split: str, fold: int) -> bool:
        unknown = split == "pfenet-trn" and not self.derives_lists  # of which no checksum is known
        return super().has_published_list(split, fold) or unknown

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        self.require_images(IMAGE_FOLDER["trn" if "trn" in split else "val"], {name for name, _ in pairs})
        return super().list_origin(pairs, split, fold)

    def check_released(self, pairs: PairList, split: str, fold: int) -> None:
        expected = self.train_classes(fold) if split == "trn" else self.test_classes(fold)
        if foreign := set(pairs.images_of).difference(expected):
            raise DataError(
                f"the list {split}/fold{fold} has the class {self.name_of(min(foreign))}; expected the classes of fold "
                f"{fold}; fetch the authors' file again"
            )
        self.require_images(IMAGE_FOLDER["trn" if split == "trn" else "val"], {name for name, _ in pairs.pairs})

    def _annotations(self, folder: str) -> CocoInstances:
        if folder not in self._instances:
            self.require_parts(folder)
            self._instances[folder] = cached_instances(
                self.annotation_file(folder), partial(read_instances, class_names=CLASS_NAMES)
            )
        return self._instances[folder]

    def annotation_file(self, folder: str) -> Path:
        return self.root / _parts(folder)[0]

    def _absent_parts(self, folder: str) -> list[str]:
        return [part for part in _parts(folder) if not (self.root / part).exists()]

    def require_parts(self, folder: str) -> None:
        require_folder(self.source, self.root, (), _parts(folder))

    def require_images(self, folder: str, names: set[str]) -> None:
        absent = sorted(names - self._image_names[folder])
        if absent:
            raise self.source.missing(
                f"{len(absent)} of {len(names)} listed images are not in {self.root}: "
                f"{absent[0]}{', …' * (len(absent) > 1)}; expected all photos of {folder}"
            )

    @cached_property
    def _image_names(self) -> dict[str, frozenset[str]]:
        """Folder -> the names of its images; listed once: 100,000 single look-ups are slow on a network."""
        return {
            folder: frozenset(f"{folder}/{path.name}" for path in (self.root / folder).glob("*.jpg"))
            for folder in IMAGE_FOLDER.values()
        }

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack COCO's archives into the root but for the folders that are there, and add lists; return remarks."""
        remarks = provide_lists(job, Coco.name, cls.list_folder)
        folders = ["val2014"] if job.validation_only else list(cls.image_folders)
        files = {f"instances_{folder}.json" for folder in folders}
        annotations = job.root / "annotations"
        if not all((annotations / file).is_file() for file in files):
            with making_place(annotations) as making:
                unpack(job.obtain(_ANNOTATIONS), making, lambda name: name.name if name.name in files else None)
                absent = next((file for file in sorted(files) if not (making / file).is_file()), None)
                if absent is not None:
                    raise DataError(f"archive {_ANNOTATIONS.name} has no {absent}; expected COCO's annotations of 2014")
                publish_into(making, annotations, files)
        for folder in folders:
            if not has_content(job.root / folder):
                archive = cls.source.archive(f"{folder}.zip")
                make_photos(job, archive, job.root / folder, "COCO's photos of 2014")
        for name in ("annotations", *folders):
            remove_leftover(job.root / name)
        if job.render:
            data = Coco(str(job.root), lists=[])
            for folder in folders:
                data._render(folder)
        return remarks

    def _render(self, folder: str) -> None:
        """Write `annotations/<folder>/<image>.png` for other programs (fscs-protocol §2.2); ours paint them faster."""
        origin = f"{sha256_file(self.annotation_file(folder))}\n{self.painting}"
        names = [path.stem for path in (self.root / folder).glob("*.jpg")]
        self._annotations(folder)  # which the threads share
        target = self.root / "annotations" / folder
        render(target, origin, names, lambda name: self.label_map(f"{folder}/{name}.jpg"), f"Painting {folder}")

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        complete = cls._check_parts(report, root)
        if report.usable:
            data = Coco(str(root), lists=[])
            training = ("trn", "pfenet-trn") if "train2014" in complete else ()
            splits = (*training, *cls.checked_splits)
            check_lists(report, data, data.file_pairs, splits, default_lists(lists, root), PAIRS_OF_CLASSES)

    @classmethod
    def _check_parts(cls, report: Report, root: Path) -> list[str]:
        """Report on the images and annotations that the data set needs; return which folders of images are complete."""
        data = report.attempt("folders", lambda: cls(str(root), lists=[]))
        if data is None:
            return []
        report.ok("folders", str(data.root))
        complete = []
        for folder in cls.image_folders:
            absent = data._absent_parts(folder)
            if absent and folder == "train2014" and len(absent) == 2:
                report.differs(folder, "not there; enough for evaluation, not for training")
            elif absent:
                report.problem(folder, f"{root} has no {' and no '.join(absent)}; expected both")
            else:
                complete.append(folder)
                data._check_part(report, folder)
        return complete

    def _check_part(self, report: Report, folder: str) -> None:
        instances = report.attempt(folder, lambda: self._annotations(folder))
        if instances is None:
            return
        images = self._image_names[folder]
        report.count(folder, len(images), _IMAGES[folder], "photos")
        annotated = [f"{folder}/{name}" for name in instances.file_names]
        report.count(f"annotations/instances_{folder}.json", len(annotated), _IMAGES[folder], "images")
        if unlisted := sorted(images.difference(annotated)):
            report.differs(folder, f"{len(unlisted)} photos without an entry in the annotations: {some(unlisted)}")
        report_absent(report, folder, sorted(set(annotated) - images), "a photo for each annotated image")

        def stated(name: str) -> tuple[tuple[int, ...], Path]:
            return tuple(instances.sizes[instances.rows[name.partition("/")[2]]].tolist()), instances.path

        there = [name for name in annotated if name in images]
        check_files(report, f"{folder}, files", there, self.image_path, stated)


class CocoAll(JoinedFolds, Coco):
    """COCO's 80 classes without folds, as INSID3 tests them in its fold -1 (incontext-protocol §3.1).

    The test lists of COCO-20i's four folds are joined, classes ascending. All classes are novel, so methods are tested
    without training.

    Args:
        root: folder with COCO's images and annotations, as for `Coco`.
        lists: folders with the official lists of COCO-20i; None takes the folder `lists` in `root` if it exists.
        allow_unverified_lists: use lists whose checksum is not the official one; the run's record states this.
    """

    name = "coco_all"
    classes_of_fold = 80
    image_folders = ("val2014",)
    list_folder = "hsnet/coco/val/"
    checked_splits = ("val",)
    source = Source(
        archives=(_VAL, _ANNOTATIONS),
        dataset="coco_all",
        page="https://cocodataset.org/#download",
        holds=("val2014/", "annotations/instances_val2014.json"),
        notes=("the folder of coco holds it, too",),
        lists="coco",
    )
    same_classes_as: ClassVar[tuple[str, ...]] = (Coco.name,)

    def candidates(self, part: Part) -> Sequence[str]:
        if part != "val":
            raise SettingsError(
                f"coco_all has its test part alone, as all classes are novel; found the part {part}; test a method "
                "that is not trained, or train with the data set coco"
            )
        return super().candidates(part)

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        """Return the official test lists of all four folds, joined; None if no folder has them."""
        if split != "val":
            return None
        joined = joined_lists([self.parted.released_pairs(split, place) for place in range(Coco.folds)])
        return joined and PairList(tuple(sorted(joined.pairs, key=lambda pair: pair[1])), joined.origin)

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        self.require_images(IMAGE_FOLDER["val"], {name for name, _ in pairs})
        return super().list_origin(pairs, split, fold)

    @cached_property
    def parted(self) -> Coco:
        return Coco(str(self.root), self.lists, self.allow_unverified_lists)


def _parts(folder: str) -> tuple[str, str]:
    """Return the annotation file of a folder of photos, and that folder."""
    return f"annotations/instances_{folder}.json", f"{folder}/"
