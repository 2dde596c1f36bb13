"""Data sets whose images show one class each, in a black and white mask of their own."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.base.files import fingerprint
from fsbench.data.dataset import DERIVED, Pair, Part, QuerySampling, SegmentationIndex
from fsbench.data.file_digests import content_digests
from fsbench.data.image_io import read_image
from fsbench.data.source import dataset_package, missing
from fsbench.datamodules.lists.pixel_counts import PixelTable, count_labels, pixel_table

NO_VALUE = 254
"""A value that no label map has; what other classes than an image's own would have in it."""


class BinaryMasks(SegmentationIndex):
    """A data set whose label maps are masks of one class each: 1 where the mask, as grey, is 128 or more, else 0."""

    label_maps_are = "masks of one class each: a pixel shows it where the mask, as grey, is 128 or more"

    _table: PixelTable | None = None

    @abstractmethod
    def class_number(self, name: str) -> int:
        """Return the class that image `name` shows."""

    def label_map(self, name: str) -> np.ndarray:
        """(H, W) uint8: 1 where the mask, as grey, is 128 or more (fss-protocol §4, cd-fss-protocol §4), else 0."""
        grey = read_image(self.label_file(name)).convert("L")
        return (np.asarray(grey) >= 128).astype(np.uint8)

    def label_values(self, name: str, classes: Sequence[int]) -> list[int]:
        own = self.class_number(name)
        return [1 if number == own else NO_VALUE for number in classes]

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        table = self._table
        pixels, total = table.class_pixels(name) if table and name in table else super().class_pixels(name)
        own = self.class_number(name)
        return {own if label else 0: count for label, count in pixels.items()}, total

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        if self._table is None or not all(name in self._table for name in names):
            self._table = pixel_table(
                names,
                lambda name: count_labels(self.label_map(name)),
                fingerprint=f"grey 128 {fingerprint(content_digests([*map(self.label_file, names)]))}",
                description=f"Counting class pixels of {self.name}",
            )


class ListedMasks(BinaryMasks):
    """A data set of another domain (cd-fss-protocol §2): a folder of files for each class, which take turns in a test.

    A name is the path of a listed file below `root`, so that an image with several classes has a name for each. There
    is one fold, whose classes are all of the data set; methods are trained on another.

    Args:
        root: folder that the names are relative to.
        folders: folder of the listed files of every class, in the order of the classes.
        suffix: the part between the first and the second dot of a listed file's name; "" lists every name.
    """

    folds = 1
    has_published_protocol = True
    query_sampling: QuerySampling = "by_turns"
    list_order = "class"

    def __init__(self, root: Path, folders: Sequence[str], suffix: str):
        self.root = root
        self.folders = tuple(folders)
        self.suffix = suffix
        absent = [folder for folder in self.folders if not (root / folder).is_dir()]
        if absent:
            raise self.missing(f"{root} has no {absent[0]}; expected a folder with files for each class")

    def missing(self, problem: str) -> Exception:
        """Return an error: the `problem` (found, expected), then what to fetch from where."""
        return missing(problem, dataset_package(self))

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(range(1, len(self.class_names) + 1))

    @cached_property
    def names(self) -> Mapping[int, tuple[str, ...]]:
        """Class number -> names of its images, ascending."""
        return self.list_names()

    def list_names(self) -> Mapping[int, tuple[str, ...]]:
        """List the files of every class."""
        return {
            number: tuple(f"{folder}/{file}" for file in listed_files(self.root / folder, self.suffix))
            for number, folder in enumerate(self.folders, start=1)
        }

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {name: number for number, names in self.names.items() for name in names}

    def class_number(self, name: str) -> int:
        return self._number_of[name]

    def candidates(self, part: Part) -> Sequence[str]:
        """Return the names of all images, class by class."""
        if part != "val":
            raise SettingsError(
                f"{self.name} has its test part alone, as all of its classes are novel; found the part {part}; test a "
                "method that is not trained, give a checkpoint, or train on another data set (--data.source)"
            )
        return [name for names in self.names.values() for name in names]

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        """Yield every listed image with its class, however small the object; no mask is opened."""
        for name in self.candidates(part):
            yield name, self._number_of[name]

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        absent = [path for name, _ in pairs for path in (self.image_path(name), self.label_file(name))
                  if not path.is_file()]  # fmt: skip
        if absent:
            raise self.missing(f"{absent[0]} does not exist; expected an image and a mask for each listed file")
        return DERIVED


def listed_files(folder: Path, suffix: str) -> list[str]:
    """Return the names of the files that the authors' programs list in `folder`, ascending (cd-fss-protocol §2).

    Names that start with a dot are never seen.

    Args:
        folder: where they are.
        suffix: the part of a name between its first and its second dot, case included; "" takes every name.
    """
    names = (path.name for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(name for name in names if not suffix or (*name.split("."), "")[1] == suffix)


def file_stem(name: str) -> str:
    """Return the part of a path's last name before its first dot."""
    return name.rpartition("/")[2].partition(".")[0]
