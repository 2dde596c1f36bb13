"""The contract of a data set: its classes and folds, its images, and the pixels that show a class."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.data.source import Source

Pair = tuple[str, int]
"""An image name and the number (from 1) of a class it shows."""

Part = Literal["trn", "val", "held_out"]
"""Part of a data set's images: for training, for the test, or for the choice of a checkpoint."""

QuerySampling = Literal["sequential", "class_first", "by_turns"]
"""Rule for queries: pair `index mod length` of the list, or one of the images of a class, which is drawn first or is
number `index mod classes`."""

VOID = 255
"""Label of void pixels; the protocol decides what they count as."""

DERIVED = "derived"
"""Origin of a list made by a rule of the suite."""


def pairs_sha256(pairs: tuple[Pair, ...], *, ordered: bool) -> str:
    """Return the sha256 of the lines "<image name> <class number>", in list order if `ordered`, else sorted."""
    lines = [f"{name} {number}" for name, number in pairs]
    return hashlib.sha256("\n".join(lines if ordered else sorted(lines)).encode()).hexdigest()


@dataclass(frozen=True)
class PairList:
    """The (image, class) pairs of a split and fold; the order of the list decides the episodes.

    Attributes:
        pairs: the pairs in list order.
        origin: where the list and its order come from: "official" (the checksum is that of the authors' file, whether
            it was read or derived), "official, unverified" (no such checksum), or "derived" (by fsbench's own rule).
    """

    pairs: tuple[Pair, ...]
    origin: str

    @cached_property
    def images_of(self) -> dict[int, tuple[str, ...]]:
        """{class number: names of the images listed for it, in list order}."""
        grouped: dict[int, list[str]] = {}
        for name, number in self.pairs:
            grouped.setdefault(number, []).append(name)
        return {number: tuple(names) for number, names in grouped.items()}

    @cached_property
    def sha256(self) -> str:
        """sha256 of the (image, class) pairs in list order."""
        return pairs_sha256(self.pairs, ordered=True)


class SegmentationData(ABC):
    """Base class of data sets of images with label maps; no image is opened before it is needed.

    A new data set implements four methods and sets five attributes; the lists of every protocol follow from them
    (`fsbench.protocols.episode_rules.pair_lists`):

    1. `test_classes(fold)`: numbers of the novel classes. 2. `candidates(part)`: names of the images that training or
    test may use. 3. `image_path(name)`: file of an image. 4. `label_map(name)`: its label map.

    `class_pixels(name)` may be the fifth, where pixel counts are known without opening the label map. Everything else
    has a default that fits a data set without published lists; published data sets override what their authors do
    differently.

    Attributes:
        name: name of the data set in records and tables.
        class_names: `class_names[c - 1]` names class number c.
        folds: number of folds.
        classes_of_fold: number of novel classes of every fold, so that a larger number of ways is refused before
            anything is loaded; None if only the files tell.
        has_published_protocol: whether papers test on the data set. If so, more ways than the fold has classes are
            refused; if not, the number of ways is lowered to that of the classes.
        same_classes_as: other data sets whose classes are the same; methods trained on those data sets have seen this
            one's classes.
        query_sampling: how queries are drawn by protocols that leave it to the data set, such as "sequential" or
            "class_first".
        min_pixels: an image is listed for a class of which it has this many pixels or more.
        knows_objects: whether `object_masks` tells the single objects of a class apart.
        images_are_files: True if an image is a picture file or a crop of one; False if it is a part of another file,
            such as a slice of a volume, and `pixels` returns it.
        turns_images: whether images are turned as their EXIF entry says, as people see them; False for published data
            sets, whose authors' programs read images as stored.
        list_order: order of the derived test list: images ascending, or classes ascending with their images. Training
            lists always have the classes ascending.
        label_maps_are: how label maps are made, in words that end a sentence "Label maps are …".
        painting: name of the rule by which label maps are painted from outlines; None if label maps are files.
        source: where the files come from and how to get them.
    """

    task: ClassVar[str] = "segmentation"
    source: ClassVar[Source] = Source()
    name: str
    class_names: tuple[str, ...]
    folds: int
    classes_of_fold: ClassVar[int | None] = None
    has_published_protocol: ClassVar[bool] = False
    same_classes_as: ClassVar[tuple[str, ...]] = ()
    query_sampling: QuerySampling = "sequential"
    min_pixels: int = 1
    knows_objects: ClassVar[bool] = False
    images_are_files: ClassVar[bool] = True
    turns_images: ClassVar[bool] = False
    list_order: Literal["image", "class"] = "image"
    label_maps_are: ClassVar[str] = "the data set's own files"
    painting: ClassVar[str | None] = None

    @abstractmethod
    def test_classes(self, fold: int) -> list[int]:
        """Return the numbers of the novel classes of `fold`, ascending."""

    @abstractmethod
    def candidates(self, part: Part) -> Sequence[str]:
        """Return the names of all images of a part of the data set, each once, in the order of the data set's files.

        Args:
            part: "trn" for training, "val" for the test, "held_out" for the choice of a checkpoint.

        Raises:
            DataError: the list of images cannot be read, or files that it names are absent.
        """

    @abstractmethod
    def image_path(self, name: str) -> Path:
        """Return the path of the file of image `name`."""

    @abstractmethod
    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8 of image `name`: 0 background, class numbers from 1, 255 void."""

    def object_masks(self, name: str, number: int) -> Sequence[np.ndarray]:
        """Return a mask (H, W) bool for each object of class `number` in image `name`, parts behind others included.

        Raises:
            NotImplementedError: the data set does not know single objects (`knows_objects` is False).
        """
        raise NotImplementedError(f"{self.name} does not tell the single objects of a class apart")

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        """Count the pixels of each class in image `name`.

        Returns:
            ({label: its number of pixels}, number of all pixels); labels ascend and include background 0 and void 255.
        """
        labels, counts = np.unique(self.label_map(name), return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True)), int(counts.sum())

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:  # noqa: B027 (nothing to prepare by default)
        """Count pixels of many images of `part` in advance, if the data set keeps a table of counts; else nothing."""

    def train_classes(self, fold: int) -> list[int]:
        """Return the numbers of the base classes of `fold`, ascending."""
        novel = {*self.test_classes(fold), *self.val_classes(fold)}
        return [number for number in range(1, len(self.class_names) + 1) if number not in novel]

    def val_classes(self, fold: int) -> list[int]:
        """Return the numbers of the classes reserved for choosing a checkpoint; empty for most data sets."""
        return []

    def label_file(self, name: str) -> Path:
        """Return the path of the file that the label map of image `name` comes from, for messages."""
        return self.image_path(name)

    def crop(self, name: str) -> tuple[slice, slice] | None:
        """Return the (rows, columns) of its file that image `name` covers, if it is a crop; None for the whole file."""
        return None

    def pixels(self, name: str) -> np.ndarray:
        """Return image `name` (H, W, 3) uint8 RGB; called only if `images_are_files` is False.

        Raises:
            DataError: a file cannot be read.
        """
        raise NotImplementedError(f"images of {self.name} are files; fsbench.data.image_io.image_pixels reads them")

    def intensities(self, name: str) -> np.ndarray | None:
        """Return the measured values of image `name`, normalised, (H, W) float32; None if the data set has photos.

        A data set with measured values, such as CT scans, also overrides `has_intensities`.

        Raises:
            DataError: a file cannot be read.
        """
        return None

    @property
    def has_intensities(self) -> bool:
        """Whether images have measured values, such as those of CT or MRI scans, which `intensities` returns."""
        return False

    def prepare_intensities(self) -> None:  # noqa: B027 (nothing to prepare by default)
        """Compute the statistics that `intensities` normalises with, before loader processes start.

        Raises:
            DataError: a file cannot be read.
        """

    def in_fold(self, fold: int, shot: int) -> Self:
        """Return the data set for tests of a fold, which may decide the images that normalise `intensities`."""
        return self

    @property
    def further_files(self) -> Sequence[Path]:
        """Files besides an image's own that its pixels depend on, such as scans that normalise all images."""
        return ()

    def group_of(self, name: str) -> str:
        """Return the patient, scene or object that an image shows; by default each image shows another, its name."""
        return name

    def label_values(self, name: str, classes: Sequence[int]) -> list[int]:
        """Return the value that each of `classes` (class numbers) has in the label map of image `name`.

        The value is the class number, except in a data set with more classes than a uint8 label map has values.
        """
        return list(classes)

    @property
    def test_images(self) -> Sequence[str]:
        """Names of all images that a test of any fold may use.

        Raises:
            DataError: the list of images cannot be read, or files that it names are absent.
        """
        return self.candidates("val")

    def support_images(self, pairs: PairList) -> Mapping[int, Sequence[str]]:
        """Return {class number: names of its images}, in the order in which supports are drawn."""
        return pairs.images_of

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        """Yield (image, class) for each class with `min_pixels` pixels or more in an image of `part`, in any order."""
        names = self.candidates(part)
        self.count_pixels(part, names)
        for name in names:
            for number, pixels in self.class_pixels(name)[0].items():
                if number not in (0, VOID) and pixels >= self.min_pixels:
                    yield name, number

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        """Return the (image, class) list that the authors published for a split; None if it must be derived.

        Args:
            split: name of the split, one of `fsbench.protocols.episode_rules.pair_lists.SPLITS`.
            fold: fold of the data set.
        """
        return None

    def has_published_list(self, split: str, fold: int) -> bool:
        """Return whether authors published a list of `split`, even if its file is absent."""
        return False

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        """Return in words how a list derived by fsbench compares with a published one, such as "official" or "derived".

        Raises:
            DataError: an image of the published list is absent.
        """
        return DERIVED

    def check_classes(self, fold: int | None, names: Sequence[str] | None = None) -> None:  # noqa: B027 (our own alone)
        """Check that label maps hold only numbers of the data set's classes; by default nothing is checked.

        Args:
            fold: the fold whose classes must each be shown by some label map; None if no class must.
            names: the images to check; None for all images that tests may use.

        Raises:
            DataError: a label map holds another number, or a class of the fold is in none.
        """

    def name_of(self, number: int) -> str:
        """Return the name of class `number`, or "number <number>" if it has none."""
        known = 1 <= number <= len(self.class_names) and self.class_names[number - 1]
        return known or f"number {number}"

    def check_fold(self, fold: int) -> None:
        """Raise SettingsError unless the data set has `fold`."""
        if fold not in range(self.folds):
            raise SettingsError(f"unknown fold {fold} for {self.name}; it has folds 0 to {self.folds - 1}")


class Drawn(ABC):
    """Base class of data sets that generate their own files."""

    @classmethod
    @abstractmethod
    def is_drawn(cls, *arguments: Any, **more: Any) -> bool:
        """Return whether the data set with these constructor arguments has been generated already."""


class ClassificationData(ABC):
    """A classification data set: images with one class each; this class opens no image.

    A new data set sets the first four attributes and implements `image_path`.

    Attributes:
        name: name of the data set in records and tables.
        class_names: names of the classes, in the order in which episodes number them from 0.
        images: for every class the names of its images in list order.
        origin: where the list of images comes from: "derived" (by fsbench's rule), or another word that the data set
            uses.
        images_are_files: whether each image is a picture file of its own.
        turns_images: whether images are turned upright as their EXIF entries say.
        painting: None; segmentation data sets name here how label maps are painted.
        source: where the files come from.
        notes: sentences for the user on how the images were read.
    """

    images_are_files: ClassVar[bool] = True
    turns_images: ClassVar[bool] = False
    painting: ClassVar[str | None] = None
    notes: Sequence[str] = ()
    task: ClassVar[str] = "classification"
    source: ClassVar[Source] = Source()
    name: str
    class_names: tuple[str, ...]
    images: tuple[tuple[str, ...], ...]
    origin: str

    @abstractmethod
    def image_path(self, name: str) -> Path:
        """Return the path of the file of image `name`."""

    def group_of(self, name: str) -> str:
        """Return the patient, scene or object that an image shows; by default each image shows another, its name."""
        return name

    @cached_property
    def sha256(self) -> str:
        """sha256 of the list of classes and their images."""
        return list_sha256(self.class_names, self.images)


AnyData = SegmentationData | ClassificationData


def list_sha256(class_names: Sequence[str], images: Sequence[Sequence[str]]) -> str:
    """Return the sha256 of class names and each class's images, in order, as canonical JSON."""
    return hashlib.sha256(json.dumps([class_names, images], separators=(",", ":")).encode()).hexdigest()
