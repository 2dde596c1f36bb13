"""PASCAL-5i and PASCAL-10i: VOC 2012 with the SBD label maps, 20 classes in four folds or two."""

import random
from collections.abc import Iterable, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import fingerprint, is_file
from fsbench.data.dataset import VOID, Pair, PairList, Part, QuerySampling
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.file_digests import content_digests
from fsbench.data.image_io import read_label_map
from fsbench.data.list_substitutes import substitute_list
from fsbench.data.orientation import check_sizes
from fsbench.data.published import class_names, class_pairs, read_table
from fsbench.data.source import Archive, Source
from fsbench.datamodules.check.lists import check_lists
from fsbench.datamodules.check.media import check_label_maps, report_absent
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.find_folder import find_folder, require_folder
from fsbench.datamodules.kinds.mask_folder import MaskFolder, read_names
from fsbench.datamodules.kinds.official import FoldwiseTrainingLists, JoinedFolds, OfficialData, OfficialImageLists
from fsbench.datamodules.lists.official import DERIVED, OFFICIAL, default_lists, joined_lists
from fsbench.datamodules.lists.pfenet import MIN_PIXELS, find_image_list
from fsbench.datamodules.lists.pixel_counts import count_labels
from fsbench.datamodules.prepare.folders import provide_files
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.list_files import provide_lists
from fsbench.datamodules.prepare.making import disk_errors
from fsbench.datamodules.prepare.sbd import SBD_TRAIN, merge_sbd
from fsbench.protocols.draws.boxes import Box, BoxTest, largest_object_box
from fsbench.protocols.draws.gfss import ValidationImages, lines_sha256
from fsbench.protocols.draws.presence import CompleteLabelMaps, KnownAbsence
from fsbench.protocols.episode_rules.image_lists import ImageLists, ReleasedImages

CLASS_NAMES = class_names("pascal")
TRAIN_IMAGES = 10582
"""Images of the list train_aug.txt: all that have a label map, without those of the test."""
ORDER_SHA256 = "25cdf9026986ab18d9c235d458f2b39bc44a29b801f3371624a22011bcee980c"
"""Checksum of val.txt of gfss's authors."""
OBJECTS = "SegmentationObject"
"""Folder of VOC's object maps, beside the label maps; without it boxes follow from label maps, which records say."""
_LABELS, _VAL, _TRAIN = 12031, 1449, 1464
"""Label maps, validation names and training names of the official data."""
PAIRS_OF_CLASSES = class_pairs("pascal")
"""Split -> number of pairs of class 1, 2, … in the official lists (fscs-protocol §2.1)."""

_VOC = Archive(
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "6cd6e144f989b92b3379bac3b3de84fd",
    ("JPEGImages/*", "SegmentationClass/*", "ImageSets/Segmentation/*"),
)
_SBD = Archive(
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    "82b4d87ceb2ed10f6038a1cba92111cb",
    ("dataset/cls/*.mat", "dataset/train.txt"),
    page="http://home.bharathh.info/pubs/codes/SBD/download.html",
)
_INNER = ("VOC2012", "VOCdevkit/VOC2012")
_PARTS = ("JPEGImages", "SegmentationClassAug")


class Pascal(MaskFolder, FoldwiseTrainingLists):
    """PASCAL-5i (fscs-protocol §1, §2). Fold f tests classes 5f+1 to 5f+5.

    Args:
        root: The folder VOC2012 with `JPEGImages` and `SegmentationClassAug`, or a folder that holds this one as
            `VOC2012` or `VOCdevkit/VOC2012`.
        lists: Folders with official lists (see `read_official`). None takes the folder `lists` in `root` if it exists.
            Without official lists they are derived from the label maps, which gives the same lists.
        allow_unverified_lists: Use lists whose checksum is not the official one; the run's record states this.
    """

    name = "pascal"
    class_names = CLASS_NAMES
    folds = 4
    classes_of_fold = 5
    has_published_protocol = True
    same_classes_as: ClassVar[tuple[str, ...]] = ("pascal10i", "pascal_all")
    query_sampling: QuerySampling = "sequential"
    min_pixels = MIN_PIXELS
    source = Source(
        archives=(_VOC, _SBD),
        dataset="pascal",
        page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        holds=(
            "VOC2012/JPEGImages/<photo>.jpg",
            "VOC2012/ImageSets/Segmentation/val.txt",
            "VOC2012/SegmentationClassAug/<photo>.png",
        ),
        lists="pascal",
    )

    def __init__(self, root: str, lists: list[str] | None = None, allow_unverified_lists: bool = False):
        self.root = require_folder(self.source, Path(root).expanduser(), _INNER, _PARTS)
        self.use_lists(lists, allow_unverified_lists, Path(root).expanduser(), self.root)
        images, labels = (self.root / part for part in _PARTS)
        super().__init__(images, labels, range(1, len(CLASS_NAMES) + 1))

    def candidates(self, part: Part) -> Sequence[str]:
        """Return the image names of a part: VOC's segmentation val for "val"; for training `train_aug.txt`.

        Without `train_aug.txt`, training has all images with a label map that are not in VOC's val.
        """
        folder = self.root / "ImageSets/Segmentation"
        source = folder / "val.txt"
        if not source.is_file():
            raise self.source.missing(f"{source} does not exist; expected the {_VAL} validation names of VOC 2012")
        names = read_names(source)
        if part == "trn":
            test_images, source = set(names), folder / "train_aug.txt"
            if source.is_file():
                names = read_names(source)
                if both := test_images.intersection(names):
                    raise DataError(
                        f"{source} has {min(both)}, which is in val.txt too; expected separate lists; remove it"
                    )
            else:
                names, source = [name for name in self.label_names() if name not in test_images], self.label_folder
                if len(names) != TRAIN_IMAGES:
                    every = f"every label map outside val.txt, {len(names)} of {TRAIN_IMAGES}"
                    substitute_list(self, part, "ImageSets/Segmentation/train_aug.txt", every)
        self.require_files(names, source)
        return sorted(names)

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        """Yield (image, class) pairs with enough of the sampled pixels in the class (fss-protocol §3.1)."""
        names = self.candidates(part)
        split: Literal["trn", "val"] = "trn" if part == "trn" else "val"
        table = self.count_table(names, f"PASCAL-5i {split}", partial(_count, split))
        for name in names:
            for number, _, samples in table[name].tolist():
                if number not in (0, VOID) and samples >= MIN_SAMPLES:
                    yield name, number

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack VOC 2012 and SBD into `<root>/VOC2012`, SBD as `SegmentationClassAug`, add lists; return remarks."""
        remarks = provide_lists(job, Pascal.name)
        voc = find_folder(job.root, _INNER, ["JPEGImages"]) or job.root / "VOC2012"
        with disk_errors(voc):
            provide_files(job, _VOC, voc)
            merge_sbd(job, _SBD, voc)
        return remarks

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        data = report.attempt("folders", lambda: Pascal(str(root), lists=[]))
        files = report.attempt("photos", lambda: data._image_files) if data else None
        if data is None or files is None:
            return
        report.ok("folders", str(data.root))
        labels = data.label_names()
        report.ok("photos", f"{len(files)} in JPEGImages; VOC 2012 has 17125, of which {_LABELS} have label maps")
        report.count("label maps", len(labels), _LABELS, "in SegmentationClassAug")
        absent = [f"{name}.jpg" for name in labels if name not in files]
        report_absent(report, "photos", absent, "one in JPEGImages for each label map")
        check_label_maps(report, "photos, label maps", data, [name for name in labels if name in files])
        for name, official in (("val.txt", _VAL), ("train.txt", _TRAIN)):
            path = data.root / "ImageSets/Segmentation" / name
            if path.is_file() or official == _VAL:
                with report.errors(name):
                    listed = read_names(path)
                    report.count(name, len(listed), official, "names")
                    unlabelled = [f"{entry}.png" for entry in listed if not is_file(data.label_file(entry))]
                    report_absent(report, name, unlabelled, "a label map for each name")
        if report.usable:
            splits = ("trn", "val", *SIZE_BINS, "pfenet-trn", "pfenet-val")
            folders = default_lists(lists, root, data.root)
            check_lists(report, data, data.file_pairs, splits, folders, PAIRS_OF_CLASSES)


class Pascal10(Pascal):
    """PASCAL-10i: fold 0 tests classes 1 to 10, fold 1 classes 11 to 20 (gfss.md §1)."""

    name = "pascal10i"
    folds = 2
    classes_of_fold = 10
    same_classes_as: ClassVar[tuple[str, ...]] = ("pascal",)


class PascalAll(JoinedFolds, Pascal):
    """PASCAL-5i without folds: the lists of its four folds joined, with all 20 classes; arguments are `Pascal`'s."""

    name = "pascal_all"
    classes_of_fold = 20
    same_classes_as: ClassVar[tuple[str, ...]] = (Pascal.name,)

    def train_classes(self, fold: int) -> list[int]:
        return self.test_classes(fold)  # base classes for tests whose novel classes are of another data set

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        return joined_lists([OfficialData.released_pairs(self.parted, split, place) for place in range(Pascal.folds)])

    @cached_property
    def parted(self) -> Pascal:
        return Pascal(str(self.root), self.lists, self.allow_unverified_lists)


@ImageLists.register(Pascal)
class PascalImages(OfficialImageLists):
    data: Pascal

    def image_order(self, part: Part) -> Sequence[str]:
        """Return names in val.txt's order; training has SBD's training images, then those of VOC that SBD lacks."""
        folder = self.data.root / "ImageSets/Segmentation"
        sbd, voc = folder / SBD_TRAIN, folder / "train.txt"
        if part == "val":
            return self.data.candidates(part)
        absent = next((path for path in (sbd, voc) if not path.is_file()), None)
        if absent is not None:  # only SBD's own list says which were its training images
            names = self.data.candidates(part)
            used = f"the {len(names)} images of the data set's training list, more than PFENet's and in another order"
            substitute_list(self.data, part, f"ImageSets/Segmentation/{absent.name}", used)
            return names
        test_images = set(self.data.candidates("val"))
        names = [name for name in dict.fromkeys(read_names(sbd) + read_names(voc)) if name not in test_images]
        self.data.require_files(names, "the candidate images")
        return names

    def origin(self, pairs: tuple[Pair, ...], part: Part, fold: int, released: ReleasedImages | None) -> str:
        found = super().origin(pairs, part, fold, released)
        if released and released.members is None and found != OFFICIAL:
            absent = f"sub_class_file_list_{fold}.txt beside {released.path.name}"
            substitute_list(self.data, part, absent, "the classes that the label maps show")
        return found

    def released(self, part: Part, fold: int) -> ReleasedImages | None:
        released = find_image_list(self.data.lists, self.data.name, part, fold, lambda image: image.stem)
        if released is not None:
            self.data.require_files(released.names, released.path)
            classes = self.data.train_classes(fold) if part == "trn" else self.data.test_classes(fold)
            if not {number for _, number in released.members or ()} <= set(classes):
                raise DataError(
                    f"{released.path} has classes of another fold than {fold}; fetch the authors' file again"
                )
        return released


@ValidationImages.register(Pascal)
class PascalValidation(ValidationImages):
    """The images of the protocol gfss, names ascending: VOC's list, official where it is complete (gfss.md §2)."""

    data: Pascal

    def images(self) -> tuple[Sequence[str], str]:
        names = self.data.candidates("val")
        found = lines_sha256([f"JPEGImages/{name}.jpg SegmentationClassAug/{name}.png" for name in names])
        if found == ORDER_SHA256:
            return names, OFFICIAL
        substitute_list(self.data, "val", "the authors' list val.txt", f"another of {len(names)} images")
        return names, DERIVED


@BoxTest.register(Pascal)
class PascalBoxes(BoxTest):
    data: Pascal

    @cached_property
    def _objects(self) -> Path | None:
        folder = self.data.root / OBJECTS
        if folder.is_dir():
            return folder
        substitute_list(self.data, "val", f"the folder {OBJECTS}", "boxes of connected parts of the label maps")
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
        boxes = [self.box(name, number, self.data.label_map(name) == number) for name in names]
        return None if None in boxes else episode

    def box(self, name: str, number: int, mask: np.ndarray) -> Box | None:
        if self._objects is None:
            return super().box(name, number, mask)
        path = self._objects / f"{name}.png"
        objects = read_label_map(path)
        check_sizes(self.data.label_file(name), mask, objects, path)
        return largest_object_box(mask * np.uint8(number), objects, number)


KnownAbsence.register(Pascal)(CompleteLabelMaps)  # difficult objects of VOC are void


# Which classes of an image the lists keep: at least three set samples on a 32-pixel grid (fss-protocol §3.1). The rule
# goes back to the program that made the lists: it shrank each class mask 32 times by nearest neighbour. Sample
# positions were exact ties, decided by rounding noise of a numerically estimated map. That noise depends on the split
# and the grid only; the entries below reproduce it. For every other grid the choice changes no list.
MIN_SAMPLES = 3
STEP = 32

_UNIT = 2.0**-49
_NOISE = ("a", "b", "t", "a2", "b2", "t2")
"""Columns of `pascal.samples.csv`: of the positions of columns, then of rows, in units of 2^-49."""


@cache
def noise_table() -> dict[tuple[str, int, int], tuple[float, ...]]:
    """Return the numbers {(split, rows, columns): (a, b, t, a', b', t')} that decide where pixels are sampled."""
    return {
        (row["split"], int(row["rows"]), int(row["columns"])): tuple(float(row[key]) for key in _NOISE)
        for row in read_table("pascal.samples")
    }


@cache
def sample_positions(split: Literal["trn", "val"], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns (n,) of the sampled pixels that lie inside a label map of this size."""
    rows, columns = -(-(height + 30) // STEP), -(-(width + 30) // STEP)
    r, k = np.meshgrid(np.arange(rows, dtype=np.float64), np.arange(columns, dtype=np.float64), indexing="ij")
    y, x = STEP * r, STEP * k
    if (split, rows, columns) in noise_table():
        a, b, t, a2, b2, t2 = noise_table()[split, rows, columns]
        # every product and sum in this order: the noise is in the last bits
        x = np.floor((STEP + a * _UNIT) * k + (b * _UNIT) * r + (15.5 + t * _UNIT) + 0.5) - 15
        y = np.floor((b2 * _UNIT) * k + (STEP + a2 * _UNIT) * r + (15.5 + t2 * _UNIT) + 0.5) - 15
    inside = (y < height) & (x < width)
    return y[inside].astype(np.int64), x[inside].astype(np.int64)


def set_samples(labels: np.ndarray, split: Literal["trn", "val"]) -> np.ndarray:
    """Count the sampled pixels of each label, as (256,) int64."""
    return np.bincount(labels[sample_positions(split, *labels.shape)], minlength=256)


def _count(split: Literal["trn", "val"], labels: np.ndarray) -> np.ndarray:
    """Return (label, pixels, grid samples) rows (n, 3) int32 of a label map."""
    rows = count_labels(labels)
    return np.column_stack([rows, set_samples(labels, split)[rows[:, 0]]]).astype(np.int32)
