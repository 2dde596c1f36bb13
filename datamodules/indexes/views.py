"""Common parts of the data sets of object annotations: an image is a view of a photo, and shows one class."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import fingerprint
from fsbench.base.files.images import open_image
from fsbench.data.dataset import Pair, PairList, Part, SegmentationIndex
from fsbench.data.file_digests import content_digests
from fsbench.data.image_io import UNDECODABLE, one_line
from fsbench.data.segmentations import RASTERISED, check_form, union_mask
from fsbench.data.source import missing
from fsbench.datamodules.lists.official import UNVERIFIED

NO_VALUE = 254
"""A value that no label map has; what other classes than a view's own would have in it."""
SEPARATOR = "@"
"""Between the parts of a view's name, the photo's first."""


class AnnotatedMask(NamedTuple):
    """A mask of a view: the words that find it in its file, and its `segmentation` there, see `union_mask`."""

    place: str
    segmentation: Any


class ViewIndex(SegmentationIndex):
    """A data set whose images are views `<photo>@…`, with label maps of 0 and 1; it has no lists of them."""

    has_published_protocol = True
    label_maps_are = f"of one class each: its masks, {RASTERISED}"

    def candidates(self, part: Part) -> Sequence[str]:
        raise SettingsError(
            f"{self.name} is tested with the protocol incontext, or presence where it has that, and has no lists of "
            f"others, nor to train or to validate on; found the part {part}; choose PROTOCOL=incontext, and a method "
            "that is not trained or has a checkpoint"
        )

    @property
    @abstractmethod
    def annotation_files(self) -> Sequence[Path]:
        """Return the files that episodes follow from."""

    @abstractmethod
    def class_number(self, name: str) -> int:
        """Return the class number of view `name`."""

    @abstractmethod
    def masks(self, name: str) -> Sequence[AnnotatedMask]:
        """Return the annotated masks of view `name`, whose union its label map shows."""

    @abstractmethod
    def photo_classes(self) -> Iterator[tuple[str, int]]:
        """Yield (photo, class number) of all that tests draw from, with whatever number of shots."""

    @abstractmethod
    def class_views(self, photo: str, number: int) -> Sequence[str | None]:
        """Return the views of class `number` in a listed photo, None for an object that does not show it."""

    def listed_photos(self) -> set[str]:
        """Return the photos that tests draw from."""
        return {photo for photo, _ in self.photo_classes()}

    def faults(self) -> Iterator[str]:
        """Yield a line for each listed photo that no episode can draw; a test fails where one of its episodes does."""
        for photo, number in self.photo_classes():
            try:
                for name in self.class_views(photo, number):
                    if name is not None:
                        self.check_masks(name)
            except DataError as error:
                yield str(error).splitlines()[0]

    def check_masks(self, name: str) -> None:
        """Raise DataError for a mask of view `name` of an impossible form."""
        for mask in self.masks(name):
            try:
                check_form(mask.segmentation)
            except (ValueError, TypeError) as error:
                raise self._unusable(name, mask, error, "polygons, runs or a bitmap") from error

    def _unusable(self, name: str, mask: AnnotatedMask, error: Exception, expected: str) -> DataError:
        return DataError(
            f"{self.label_file(name)} has an unusable mask of {name}, {mask.place} ({error}); expected {expected}; the "
            "authors' programs stop there as well; fetch the file again"
        )

    @cached_property
    def annotations_sha256(self) -> str:
        """Checksum of the annotation files."""
        return fingerprint(content_digests(self.annotation_files))

    def label_map(self, name: str) -> np.ndarray:
        height, width = photo_size(self.image_path(name))
        union = np.zeros((height, width), dtype=bool)
        for mask in self.masks(name):
            try:
                union |= union_mask([mask.segmentation], height, width)
            except (ValueError, TypeError) as error:
                expected = f"one of {height} rows and {width} columns"
                raise self._unusable(name, mask, error, expected) from error
        box = self.crop(name)
        labels = union.astype(np.uint8) if box is None else np.ascontiguousarray(union[box].astype(np.uint8))
        if not labels.size:
            raise DataError(
                f"the object's box of {name} in {self.label_file(name)} has no pixels; expected one inside the photo"
            )
        return labels

    def label_values(self, name: str, classes: Sequence[int]) -> list[int]:
        own = self.class_number(name)
        return [1 if number == own else NO_VALUE for number in classes]

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        """Count the pixels of image `name`; the own class is there even if its mask has none inside the box."""
        pixels, total = super().class_pixels(name)
        return {0: pixels.get(0, 0), self.class_number(name): pixels.get(1, 0)}, total

    def is_empty(self, name: str) -> bool:
        """Return whether the box of view `name` has no pixels."""
        box = self.crop(name)
        if box is None:
            return False
        sides = zip(box, photo_size(self.image_path(name)), strict=True)
        return any(not range(*part.indices(length)) for part, length in sides)


@lru_cache(maxsize=100_000)
def photo_size(path: Path) -> tuple[int, int]:
    """Return height and width of a photo without decoding it; DataError where that is impossible."""
    try:
        with open_image(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise DataError(f"image {path} does not exist; put it there, or take the complete photos") from None
    except UNDECODABLE as error:
        raise DataError(
            f"image {path} cannot be read ({one_line(error)}); expected a photo; put a sound copy there"
        ) from error


def require_parts(root: Path, parts: Iterable[str], expected: str, package: str) -> None:
    """Raise DataError unless all `parts`, files and folders, are in `root`; it says what to fetch for `package`."""
    absent = [part for part in parts if not (root / part).exists()]
    if absent:
        raise missing(f"{root} has no {' and no '.join(absent)}; expected {expected}", package)


def other_version(file: object, found: str, expected: str, package: str) -> DataError:
    """Return the refusal of an annotation file that is not of the form that the authors' programs read."""
    return missing(f"{file} is of another version: {found}; expected {expected}", package)


def listed_views(pairs: Iterable[Pair]) -> PairList:
    """Return the list of views with their classes; no checksum of the files that they follow from is published."""
    return PairList(tuple(pairs), UNVERIFIED)


def view_photo(name: str) -> str:
    """Return the photo of view `name`."""
    return name.partition(SEPARATOR)[0]
