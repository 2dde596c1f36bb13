"""PASCAL-5i: VOC 2012 with the SBD label maps, 20 classes in four folds."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.fetch import PASCAL, missing
from datamodules.mask_folder import MaskFolder, read_names
from datamodules.official_lists import default_lists, joined_origin, read_official, verdict, verified
from datamodules.pascal_rule import MIN_SAMPLES, set_samples
from datamodules.pfenet_lists import find_image_list, pairs_by_pixels, pairs_in_order
from datamodules.pixel_cache import count_labels
from fsbench.annotations import SIZE_BINS, Pair, PairList
from fsbench.errors import DataError

_NAMES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor"
)
CLASS_NAMES = tuple(_NAMES.split())
_PARTS = ("JPEGImages", "SegmentationClassAug")
SBD_TRAIN = "sbd_train.txt"
"""In `ImageSets/Segmentation`: train.txt of SBD, put there by `fsbench data prepare`."""


class Pascal(MaskFolder):
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
    query_rule: Literal["listed", "drawn"] = "listed"
    augment_threshold = 0.07

    def __init__(self, root: str, lists: list[str] | None = None, allow_unverified_lists: bool = False):
        self.root = _voc_folder(Path(root).expanduser())
        self.lists = default_lists(lists, Path(root).expanduser(), self.root)
        self.allow_unverified_lists = allow_unverified_lists
        images, labels = (self.root / part for part in _PARTS)
        super().__init__(images, labels, range(1, len(CLASS_NAMES) + 1))

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(range(5 * fold + 1, 5 * fold + 6))

    def make_list(self, split: str, fold: int) -> PairList:
        if split in ("pfenet-trn", "pfenet-val"):
            return self._pfenet(split, fold)
        if split != "trn":
            return self._own_classes(split, fold)
        parts = [self._own_classes("trn", other) for other in range(self.folds) if other != fold]
        pairs = tuple(pair for part in parts for pair in part.pairs)
        return PairList(pairs, joined_origin([part.origin for part in parts]))

    def _own_classes(self, split: str, fold: int) -> PairList:
        """The list of `split` with the classes that `fold` tests, as one official file holds them."""
        official = read_official(self.lists, self.name, split, fold, self.allow_unverified_lists)
        if official is not None:
            self._check_official(official, split, fold)
            return official
        if split in SIZE_BINS:
            pairs: Sequence[Pair] = self.size_list(split, fold).pairs
        elif split == "val":
            pairs = self._derived("val", fold)
        else:
            pairs = sorted(self._derived("trn", fold), key=lambda pair: (pair[1], pair[0]))
        return PairList(tuple(pairs), verdict(pairs, self.name, split, fold))

    def _pfenet(self, split: str, fold: int) -> PairList:
        """hmnet.md §11.1, from the released list or by its rule: val in the order of val.txt, trn in that of SBD's
        training images and then those of VOC's that SBD's lack."""
        released = find_image_list(self.lists, self.name, split, fold, lambda photo: photo.stem)
        training = split == "pfenet-trn"
        classes = self.train_classes(fold) if training else self.test_classes(fold)
        source: Path | str = released.path if released else "the candidate images"
        names = released.names if released else self._pfenet_candidates(training)
        self.require_files(names, source)
        if released and released.members is not None:
            members = released.members
            pairs = pairs_in_order(names, classes, lambda name, number: (name, number) in members)
            if len(pairs) < len(members):
                raise DataError(f"{source} has classes of another fold than {fold}; fetch the authors' file again")
        else:
            unwanted = self.test_classes(fold) if training else []
            self.count_pixels("trn" if training else "val", names)
            pairs = pairs_by_pixels(names, classes, unwanted, self.class_pixels)
        if released:
            return verified(pairs, released.path, self.name, split, fold, self.allow_unverified_lists)
        return PairList(pairs, verdict(pairs, self.name, split, fold))

    def _pfenet_candidates(self, training: bool) -> list[str]:
        if not training:
            return self._candidates("val")
        folder = self.root / "ImageSets/Segmentation"
        sbd, voc = folder / SBD_TRAIN, folder / "train.txt"
        if not (sbd.is_file() and voc.is_file()):  # without SBD's own list nobody knows which images it had in training
            return self._candidates("trn")
        held_out = set(self._candidates("val"))
        return [name for name in dict.fromkeys(read_names(sbd) + read_names(voc)) if name not in held_out]

    def _check_official(self, pairs: PairList, split: str, fold: int) -> None:
        source = f"the official list {split}/fold{fold}"
        foreign = set(pairs.images_of).difference(self.test_classes(fold))
        if foreign:
            raise DataError(f"{source} has class {min(foreign)}; expected classes {5 * fold + 1} to {5 * fold + 5}")
        self.require_files([name for name, _ in pairs.pairs], source)

    def _derived(self, split: Literal["trn", "val"], fold: int) -> list[Pair]:
        """Pairs by the rule of fss-protocol §3.1, sorted by (name, class)."""
        names = self._candidates(split)
        table = self.counted(names, f"PASCAL-5i {split}", partial(_count, split))
        novel = self.test_classes(fold)
        return [
            (name, number)
            for name in names
            for number, _, samples in table[name].tolist()
            if number in novel and samples >= MIN_SAMPLES
        ]

    def _candidates(self, split: Literal["trn", "val"]) -> list[str]:
        """val: VOC's segmentation val; trn: `train_aug.txt` where it exists, else every other label map."""
        folder = self.root / "ImageSets/Segmentation"
        if not (folder / "val.txt").is_file():
            raise missing(
                f"{folder / 'val.txt'} does not exist; expected the 1449 validation names of VOC 2012", PASCAL
            )
        source = folder / "val.txt"
        names = read_names(source)
        if split == "trn":
            held_out = set(names)
            source = folder / "train_aug.txt"
            listed = source.is_file()
            if not listed:
                source = self.label_folder
            names = read_names(source) if listed else [name for name in self.label_names() if name not in held_out]
            both = held_out.intersection(names)
            if both:
                raise DataError(
                    f"{source} has {min(both)}, which is in val.txt too; expected separate lists; remove it"
                )
        self.require_files(names, source)
        return sorted(names)

    def count_pixels(self, split: str, names: Sequence[str]) -> None:
        if not all(any(name in table for table in self._tables.values()) for name in names):
            self.counted(names)


def _count(split: Literal["trn", "val"], labels: np.ndarray) -> np.ndarray:
    """(label, pixels, grid samples) rows (n, 3) int32 of a label map."""
    rows = count_labels(labels)
    return np.column_stack([rows, set_samples(labels, split)[rows[:, 0]]]).astype(np.int32)


def _voc_folder(root: Path) -> Path:
    for folder in (root, root / "VOC2012", root / "VOCdevkit/VOC2012"):
        if all((folder / part).is_dir() for part in _PARTS):
            return folder
    if not root.is_dir():
        raise missing(
            f"the PASCAL VOC folder {root} does not exist; expected VOC2012 with {' and '.join(_PARTS)}", PASCAL
        )
    inner = next((f for f in (root / "VOC2012", root / "VOCdevkit/VOC2012") if f.is_dir()), root)
    absent = [part for part in _PARTS if not (inner / part).is_dir()]
    raise missing(f"{inner} has no {' and no '.join(absent)}; expected VOC2012 with {' and '.join(_PARTS)}", PASCAL)
