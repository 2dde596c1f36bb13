"""Data sets whose images show one class each, in a black and white mask of their own."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
from PIL import Image

from fsbench.base.errors import SettingsError
from fsbench.base.files import fingerprint
from fsbench.data.dataset import DERIVED, Pair, Part, QuerySampling
from fsbench.data.file_digests import content_digests
from fsbench.data.image_io import read_shades
from fsbench.datamodules.check.media import check_label_maps
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.find_folder import find_folder
from fsbench.datamodules.kinds.one_class import OneClassImages
from fsbench.datamodules.lists.pixel_counts import PixelTable, count_labels, pixel_table
from fsbench.datamodules.prepare.making import has_content


class BinaryMasks(OneClassImages):
    """Data set whose masks show one class each: where the mask's grey value is 128 or more."""

    label_maps_are = "masks of one class each: a pixel shows it where the mask, as grey, is 128 or more"

    _table: PixelTable | None = None

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8 of image `name`: 1 where the mask's grey value is 128 or more, else 0."""
        grey = Image.fromarray(read_shades(self.label_file(name))).convert("L")
        return (np.asarray(grey) >= 128).astype(np.uint8)

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
    """Data set of another domain than training (cd-fss-protocol §2), with a folder of files for each class.

    An image's name is the path of a listed file below `root`, so that an image with several classes has a name for
    each. There is one fold with all classes; episodes are about the classes in turn. Methods are trained on another
    data set.

    Args:
        root: the folder that the names are relative to, or one that holds it as one of `inner`.

    Attributes:
        inner: paths below `root` where the authors' folder may be; `fsbench data prepare` makes the first of them.
        mark: name of a folder inside the authors' folder, by which the authors' folder is recognised.
        folders: for each class, in order, the folder with the listed files (images or masks).
        suffix: the part between the first and the second dot of a listed file's name; "" lists every file.
        listed: number of listed images of the complete data; None if not known.
        listed_of: {class name: number of listed images of the class in the complete data}; {} if not known.
    """

    folds = 1
    has_published_protocol = True
    query_sampling: QuerySampling = "by_turns"
    list_order = "class"
    inner: ClassVar[tuple[str, ...]]
    mark: ClassVar[str]
    folders: ClassVar[tuple[str, ...]]
    suffix: ClassVar[str]
    listed: ClassVar[int | None] = None
    listed_of: ClassVar[Mapping[str, int]] = MappingProxyType({})

    def __init__(self, root: str):
        given = Path(root).expanduser()
        self.root = find_folder(given, self.inner, [self.mark]) or given
        absent = [folder for folder in self.folders if not (self.root / folder).is_dir()]
        if absent:
            raise self.source.missing(f"{self.root} has no {absent[0]}; expected a folder with files for each class")

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(range(1, len(self.class_names) + 1))

    @cached_property
    def names(self) -> Mapping[int, tuple[str, ...]]:
        """{class number: names of its images, ascending}."""
        return self.list_names()

    def list_names(self) -> Mapping[int, tuple[str, ...]]:
        """Return {class number: names of its images, ascending}, by the files in the class folders."""
        return {
            number: tuple(f"{folder}/{file}" for file in listed_files(self.root / folder, self.suffix))
            for number, folder in enumerate(self.folders, start=1)
        }

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {name: number for number, names in self.names.items() for name in names}

    def class_number(self, name: str) -> int:
        return self._number_of[name]

    def image_path(self, name: str) -> Path:
        return self.root / name

    def label_file(self, name: str) -> Path:
        return self.root / name

    def candidates(self, part: Part) -> Sequence[str]:
        """Return the names of all images, class by class."""
        if part != "val":
            raise SettingsError(
                f"{self.name} has its test part alone, as all of its classes are novel; found the part {part}; test a "
                "method that is not trained, give a checkpoint, or train on another data set (--data.source)"
            )
        return [name for names in self.names.values() for name in names]

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        """Yield every listed image with its class, whatever the object's size; no mask is read."""
        for name in self.candidates(part):
            yield name, self._number_of[name]

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        absent = [path for name, _ in pairs for path in (self.image_path(name), self.label_file(name))
                  if not path.is_file()]  # fmt: skip
        if absent:
            raise self.source.missing(f"{absent[0]} does not exist; expected an image and a mask for each listed file")
        return DERIVED

    @classmethod
    def is_prepared(cls, root: Path) -> bool:
        """Return whether `root` holds the data set, prepared by `fsbench data prepare` or by its authors."""
        return has_content(root / cls.inner[0]) or has_content(root / cls.mark)

    @classmethod
    def detect(cls, root: Path) -> Self:
        """Return the data set in `root` for a check, with options chosen by the files that are there."""
        return cls(str(root))

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        """Report on folders, files and the number of listed images in `root`; `lists` is not used."""
        data = report.attempt("folders", lambda: cls.detect(root))
        names = report.attempt("lists", lambda: data.candidates("val")) if data else None
        if data is None or names is None:
            return
        report.ok("folders", str(data.root))
        for number, listed in data.names.items():
            name = data.class_names[number - 1]
            report.count(f"class {number}", len(listed), cls.listed_of.get(name), f"listed images of {name}")
            if len(listed) < 2:
                report.problem(f"class {number}", f"{len(listed)} listed images of {name}; expected 2 or more")
        report.count("list", len(names), cls.listed, "listed images of all classes")
        check_label_maps(report, "images, masks", data, names)
        data.report_more(report)

    def report_more(self, report: Report) -> None:
        """Report checks that only this data set has; called if the common checks found it usable."""


def listed_files(folder: Path, suffix: str) -> list[str]:
    """Return the names of the files that the authors' programs list in `folder`, ascending (cd-fss-protocol §2).

    Names that start with a dot are left out.

    Args:
        folder: the folder.
        suffix: the part of a name between its first and its second dot, case included; "" takes every name.
    """
    names = (path.name for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(name for name in names if not suffix or (*name.split("."), "")[1] == suffix)


def file_stem(name: str) -> str:
    """Return the part of a path's last name before its first dot."""
    return name.rpartition("/")[2].partition(".")[0]
