"""PASCAL-5i: VOC 2012 with the SBD label maps, 20 classes in four folds."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.dataset import VOID, Pair, Part, QuerySampling
from fsbench.data.list_substitutes import substitute_list
from fsbench.data.source import missing
from fsbench.datamodules.datasets.pascal.lists import MIN_SAMPLES, set_samples
from fsbench.datamodules.indexes.mask_folder import MaskFolder, read_names
from fsbench.datamodules.indexes.official import FoldwiseTrainingLists
from fsbench.datamodules.lists.official import default_lists
from fsbench.datamodules.lists.pfenet import MIN_PIXELS
from fsbench.datamodules.lists.pixel_counts import count_labels

_NAMES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor"
)
CLASS_NAMES = tuple(_NAMES.split())
_PARTS = ("JPEGImages", "SegmentationClassAug")
TRAIN_IMAGES = 10582
"""Images of the list train_aug.txt: all that have a label map, without those of the test."""
SBD_TRAIN = "sbd_train.txt"
"""In `ImageSets/Segmentation`: train.txt of SBD, put there by `fsbench data prepare`."""


class Pascal(MaskFolder, FoldwiseTrainingLists):
    """PASCAL-5i (fscs-protocol §1, §2). Fold f tests classes 5f+1 to 5f+5.

    Args:
        root: The folder VOC2012 with `JPEGImages` and `SegmentationClassAug`, or a folder that holds it as `VOC2012` or
            `VOCdevkit/VOC2012`.
        lists: Folders with official lists (see `read_official`). None takes the folder `lists` in `root` where there is
            one; without official lists they are derived from the label maps, which gives the same.
        allow_unverified_lists: Use lists whose checksum is not the official one; the record says so.
    """

    name = "pascal"
    class_names = CLASS_NAMES
    folds = 4
    classes_of_fold = 5
    has_published_protocol = True
    same_classes_as: ClassVar[tuple[str, ...]] = ("pascal10i", "pascal_all")
    query_sampling: QuerySampling = "sequential"
    min_pixels = MIN_PIXELS

    def __init__(self, root: str, lists: list[str] | None = None, allow_unverified_lists: bool = False):
        self.root = _voc_folder(Path(root).expanduser())
        self.lists = default_lists(lists, Path(root).expanduser(), self.root)
        self.derives_lists = lists == []
        self.allow_unverified_lists = allow_unverified_lists
        images, labels = (self.root / part for part in _PARTS)
        super().__init__(images, labels, range(1, len(CLASS_NAMES) + 1))

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        first = self.classes_of_fold * fold + 1
        return list(range(first, first + self.classes_of_fold))

    def candidates(self, part: Part) -> Sequence[str]:
        """Return VOC's segmentation val; for training `train_aug.txt` where it exists, else every other label map."""
        folder = self.root / "ImageSets/Segmentation"
        source = folder / "val.txt"
        if not source.is_file():
            raise missing(f"{source} does not exist; expected the 1449 validation names of VOC 2012", __package__)
        names = read_names(source)
        if part == "trn":
            test_images = set(names)
            source = folder / "train_aug.txt"
            listed = source.is_file()
            if not listed:
                source = self.label_folder
            names = read_names(source) if listed else [name for name in self.label_names() if name not in test_images]
            both = test_images.intersection(names)
            if not listed and len(names) != TRAIN_IMAGES:
                every = f"every label map outside val.txt, {len(names)} of {TRAIN_IMAGES}"
                substitute_list(self, part, "ImageSets/Segmentation/train_aug.txt", every)
            if both:
                raise DataError(
                    f"{source} has {min(both)}, which is in val.txt too; expected separate lists; remove it"
                )
        self.require_files(names, source)
        return sorted(names)

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        """Yield the pairs with enough samples on the grid of fss-protocol §3.1."""
        names = self.candidates(part)
        split: Literal["trn", "val"] = "trn" if part == "trn" else "val"
        table = self.count_table(names, f"PASCAL-5i {split}", partial(_count, split))
        for name in names:
            for number, _, samples in table[name].tolist():
                if number not in (0, VOID) and samples >= MIN_SAMPLES:
                    yield name, number


class Pascal10(Pascal):
    """PASCAL-10i: fold 0 tests classes 1 to 10, fold 1 classes 11 to 20 (gfss.md §1)."""

    name = "pascal10i"
    folds = 2
    classes_of_fold = 10
    same_classes_as: ClassVar[tuple[str, ...]] = ("pascal",)


def _count(split: Literal["trn", "val"], labels: np.ndarray) -> np.ndarray:
    """Return (label, pixels, grid samples) rows (n, 3) int32 of a label map."""
    rows = count_labels(labels)
    return np.column_stack([rows, set_samples(labels, split)[rows[:, 0]]]).astype(np.int32)


def _voc_folder(root: Path) -> Path:
    for folder in (root, root / "VOC2012", root / "VOCdevkit/VOC2012"):
        if all((folder / part).is_dir() for part in _PARTS):
            return folder
    if not root.is_dir():
        raise missing(
            f"the PASCAL VOC folder {root} does not exist; expected VOC2012 with {' and '.join(_PARTS)}", __package__
        )
    inner = next((f for f in (root / "VOC2012", root / "VOCdevkit/VOC2012") if f.is_dir()), root)
    absent = [part for part in _PARTS if not (inner / part).is_dir()]
    raise missing(
        f"{inner} has no {' and no '.join(absent)}; expected VOC2012 with {' and '.join(_PARTS)}", __package__
    )
