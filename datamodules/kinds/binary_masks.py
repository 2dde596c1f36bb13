"""Data sets whose images show one class each, in a black and white mask of their own."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.base.files import fingerprint
from fsbench.data.dataset import DERIVED, Pair, Part, QuerySampling, SegmentationData
from fsbench.data.file_digests import content_digests
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.declaration import MASKS
from fsbench.datamodules.kinds.declared import Declared
from fsbench.datamodules.kinds.one_class import OneClassImages
from fsbench.datamodules.lists.pixel_counts import PixelTable, count_labels, pixel_table

Counting = Callable[[np.ndarray], np.ndarray]
"""Function from a label map to rows (label, pixels, …) of a `PixelTable`."""


class CountedOnce(SegmentationData):
    """Data set whose label maps are counted once for all images of a list, and the counts kept as a small file."""

    @cached_property
    def _tables(self) -> dict[tuple[str, tuple[str, ...]], PixelTable]:
        return {}

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        if not all(any(name in table for table in self._tables.values()) for name in names):
            self.count_table(sorted(names))

    def count_table(self, names: Sequence[str], rule: str = "pixels", count: Counting = count_labels) -> PixelTable:
        """Return the counts of the images `names` by a rule, of which `count` makes an image's rows of the table."""
        key = (rule, tuple(names))
        if key not in self._tables:
            files = fingerprint(content_digests([*map(self.label_file, names), *self.further_files]))
            self._tables[key] = pixel_table(
                names,
                lambda name: count(self.label_map(name)),
                fingerprint=f"{rule} {self.name} {self.class_names} {self.label_maps_are} {files}",
                description=f"Counting class pixels of {self.name}",
            )
        return self._tables[key]

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        table = next((table for table in self._tables.values() if name in table), None)
        return super().class_pixels(name) if table is None else table.class_pixels(name)


class BinaryMasks(OneClassImages, CountedOnce):
    """Data set whose masks show one class each: where the mask's grey value is 128 or more."""

    label_maps_are = "masks of one class each: a pixel shows it where the mask, as grey, is 128 or more"

    def label_map(self, name: str) -> np.ndarray:
        return MASKS["grey from 128"](self.label_file(name)).astype(np.uint8)

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        pixels, total = super().class_pixels(name)
        own = self.class_number(name)
        return {own if label else 0: count for label, count in pixels.items()}, total


class ListedMasks(Declared, BinaryMasks):
    """Data set of another domain than training (cd-fss-protocol §2), with a folder of files for each class.

    An image's name is the path of a listed file below `root`, so that an image with several classes has a name for
    each. There is one fold with all classes; episodes are about the classes in turn. Methods are trained on another
    data set.
    """

    query_sampling: QuerySampling = "by_turns"
    list_order = "class"

    @cached_property
    def names(self) -> Mapping[int, tuple[str, ...]]:
        """{class number: names of its images, ascending}."""
        shown = {name: self.class_number(name) for name in self.texts}
        numbers = range(1, len(self.class_names) + 1)
        return {number: tuple(name for name in shown if shown[name] == number) for number in numbers}

    @property
    def every_name(self) -> Sequence[str]:
        return [name for names in self.names.values() for name in names]

    def candidates(self, part: Part) -> Sequence[str]:
        if part != "val":
            raise SettingsError(
                f"{self.name} has its test part alone, as all of its classes are novel; found the part {part}; test a "
                "method that is not trained, give a checkpoint, or train on another data set (--data.source)"
            )
        return self.every_name

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        for path in (file(name) for name, _ in pairs for file in (self.image_path, self.label_file)):
            if not path.is_file():
                raise self.source.missing(f"{path} does not exist; expected an image and a mask for each listed file")
        return DERIVED

    def report_lists(self, report: Report) -> None:
        counts = self.declaration.counts
        for number, listed in self.names.items():
            name = self.class_names[number - 1]
            report.count(f"class {number}", len(listed), counts.get(name), f"listed images of {name}")
            if len(listed) < 2:
                report.problem(f"class {number}", f"{len(listed)} listed images of {name}; expected 2 or more")
        report.count("list", len(self.every_name), counts.get("all"), "listed images of all classes")


def file_stem(name: str) -> str:
    """Return the part of a path's last name before its first dot."""
    return name.rpartition("/")[2].partition(".")[0]
