"""What a dataset tells the suite: its classes and folds, which image shows which class, and an image's label map."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from fsbench.errors import SettingsError

Pair = tuple[str, int]
"""An image name and the number (from 1) of a class it shows."""

SIZE_BINS = {"0-5": (0.0, 0.05), "5-10": (0.05, 0.10), "10-15": (0.10, 0.15), "0-15": (0.0, 0.15)}
"""Size-restricted splits: share of an image's pixels, void included, in [lower, upper) (fscs-protocol §2.2)."""

SPLITS = ("trn", "val", "held_out", "pfenet-trn", "pfenet-val", *SIZE_BINS)
"""See `AnnotationIndex.pair_list`."""

VOID = 255
"""Label of void pixels; what it counts as is the protocol's decision."""


def pairs_sha256(pairs: tuple[Pair, ...], *, ordered: bool) -> str:
    """sha256 of the lines "name class" joined by newlines, sorted as strings or in list order (fscs-protocol §2.1)."""
    lines = [f"{name} {number}" for name, number in pairs]
    return hashlib.sha256("\n".join(lines if ordered else sorted(lines)).encode()).hexdigest()


@dataclass(frozen=True)
class PairList:
    """The (image, class) pairs of one split and fold, in the order that decides the episodes.

    `origin` says where the order comes from: "official" (it has the checksum of the authors' file, read or derived),
    "official, unverified", or "derived" (our rule).
    """

    pairs: tuple[Pair, ...]
    origin: str

    @cached_property
    def images_of(self) -> dict[int, tuple[str, ...]]:
        """Class number -> image names in list order; classes in order of first appearance."""
        grouped: dict[int, list[str]] = {}
        for name, number in self.pairs:
            grouped.setdefault(number, []).append(name)
        return {number: tuple(names) for number, names in grouped.items()}

    @cached_property
    def sha256(self) -> str:
        return pairs_sha256(self.pairs, ordered=True)


class AnnotationIndex(ABC):
    """Names, classes, folds, pair lists and label maps of one dataset. Opens no image until asked for it."""

    name: str
    class_names: tuple[str, ...]
    """`class_names[c - 1]` names class number c."""
    folds: int
    query_rule: Literal["listed", "drawn"]
    """How a query is chosen: "listed" takes pair `index mod len`, "drawn" draws a class and then an image of it."""
    augment_threshold: float
    """θ of the augmented settings: an annotated class is used when it covers more than this (fscs-protocol §4)."""

    @abstractmethod
    def test_classes(self, fold: int) -> list[int]:
        """Numbers of the novel classes of `fold`, ascending."""

    @abstractmethod
    def pair_list(self, split: str, fold: int) -> PairList:
        """Pairs of `split`.

        "trn" has the base classes in training images, "val" the novel classes in validation images, a size bin of
        `SIZE_BINS` a part of "val", and "held_out" the classes of `held_out_classes`. "pfenet-trn" and "pfenet-val"
        are the lists of PFENet-like programs (hmnet.md §11.1): images in list order, the classes of an image ascending,
        training images that show a novel class left out.
        """

    def held_out_classes(self, fold: int) -> list[int]:
        """Numbers of classes that are neither base nor novel but there to choose a checkpoint with; few data sets have
        them (FSS-1000)."""
        return []

    def support_images(self, pairs: PairList) -> Mapping[int, Sequence[str]]:
        """Class number -> images in the order that supports are drawn from; that of the list but for FSS-1000."""
        return pairs.images_of

    def label_values(self, name: str, classes: Sequence[int]) -> list[int]:
        """What each of `classes` has as its value in the label map of image `name`: its number, except where a data
        set has more classes than a label map has values."""
        return list(classes)

    @abstractmethod
    def image_path(self, name: str) -> Path:
        """File of the image `name`."""

    def label_file(self, name: str) -> Path:
        """File that the label map of image `name` comes from, to be named in messages."""
        return self.image_path(name)

    @abstractmethod
    def label_map(self, name: str) -> np.ndarray:
        """Label map (H, W) uint8 of image `name`: 0 background, class numbers, 255 void."""

    def train_classes(self, fold: int) -> list[int]:
        """Numbers of the base classes of `fold`, ascending."""
        novel = {*self.test_classes(fold), *self.held_out_classes(fold)}
        return [number for number in range(1, len(self.class_names) + 1) if number not in novel]

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        """Pixels of every class of image `name` (numbers ascending, background and void included), pixels in all."""
        labels, counts = np.unique(self.label_map(name), return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True)), int(counts.sum())

    def check_fold(self, fold: int) -> None:
        if fold not in range(self.folds):
            raise SettingsError(f"unknown fold {fold} for {self.name}; it has folds 0 to {self.folds - 1}")

    def check_split(self, split: str) -> None:
        if split not in SPLITS:
            raise SettingsError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")


def size_restricted(pairs: PairList, index: AnnotationIndex, size: str) -> PairList:
    """The pairs whose class covers a share of its image inside the bin `size`, in the same order."""
    lower, upper = SIZE_BINS[size]

    def share(name: str, number: int) -> float:
        pixels, total = index.class_pixels(name)
        return pixels.get(number, 0) / total

    kept = tuple(pair for pair in pairs.pairs if lower <= share(*pair) < upper)
    return PairList(kept, origin="derived")
