"""Common parts of the data sets of object annotations: an image is a view of a photo, and shows one class."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from fsbench.base.errors import DataError, FsbenchError, SettingsError
from fsbench.base.files import fingerprint, is_file
from fsbench.data.dataset import Pair, PairList, Part
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.data.file_digests import content_digests
from fsbench.data.picture_file import picture_header
from fsbench.data.segmentations import RASTERISED, RASTERISING, check_form, union_mask
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.kinds.one_class import OneClassImages
from fsbench.datamodules.lists.official import UNVERIFIED
from fsbench.protocols.reading import load_segmentation

SEPARATOR = "@"
"""Between the parts of a view's name, the photo's first."""
_DECODED = 40
"""Number of masks of each fold that are decoded as a sample of a check."""


class AnnotatedMask(NamedTuple):
    """One mask of a view: where it stands in the annotation file, in words, and its COCO `segmentation`."""

    place: str
    segmentation: Any


class ViewData(OneClassImages):
    """Data set whose images are views `<photo>@…` (such as one object's box in a photo), with label maps of 0 and 1.

    Attributes:
        logged_classes: {shots: number of classes of each fold} in the authors' published logs; annotation files with
            these numbers are complete (incontext-protocol §3).
        logged_episodes: number of episodes of each fold in the authors' logs.
    """

    has_published_protocol = True
    logged_classes: ClassVar[Mapping[int, tuple[int, ...]]]
    logged_episodes: ClassVar[tuple[int, ...]]
    label_maps_are = f"of one class each: its masks, {RASTERISED}"
    painting = RASTERISING

    def __init__(self, root: str):
        self.root = Path(root).expanduser()

    def candidates(self, part: Part) -> Sequence[str]:
        raise SettingsError(
            f"{self.name} is tested with the protocol incontext, or presence where it has that, and has no lists of "
            f"others, nor to train or to validate on; found the part {part}; choose the protocol incontext, and a "
            "method that is not trained or has a checkpoint"
        )

    @property
    def test_images(self) -> Sequence[str]:
        return sorted(self.listed_photos())

    @property
    @abstractmethod
    def annotation_files(self) -> Sequence[Path]:
        """Annotation files from which episodes are drawn."""

    @abstractmethod
    def masks(self, name: str) -> Sequence[AnnotatedMask]:
        """Return the annotated masks of the view `name`; the view's label map is the union of these masks."""

    @abstractmethod
    def photo_classes(self) -> Iterator[tuple[str, int]]:
        """Yield (photo, class number) for all photos and classes that tests may draw, with any number of shots."""

    @abstractmethod
    def class_views(self, photo: str, number: int) -> Sequence[str | None]:
        """Return the names of a class's views in a listed photo; None for an object that does not show it."""

    def listed_photos(self) -> set[str]:
        return {photo for photo, _ in self.photo_classes()}

    def faults(self) -> Iterator[str]:
        """Yield an error message for each listed (photo, class) that no episode can use; a test that draws it fails."""
        for photo, number in self.photo_classes():
            try:
                for name in self.class_views(photo, number):
                    if name is not None:
                        self.check_masks(name)
            except DataError as error:
                yield str(error).splitlines()[0]

    def check_masks(self, name: str) -> None:
        """Raise DataError if a mask of view `name` has a form that cannot be read."""
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

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        pixels, total = super().class_pixels(name)
        return {0: pixels.get(0, 0), self.class_number(name): pixels.get(1, 0)}, total

    def is_empty(self, name: str) -> bool:
        box = self.crop(name)
        if box is None:
            return False
        sides = zip(box, photo_size(self.image_path(name)), strict=True)
        return any(not range(*part.indices(length)) for part, length in sides)

    @classmethod
    @contextmanager
    def reading(cls, file: Path, form: str) -> Iterator[None]:
        """Within the block, which reads an annotation file of a form (in words), other forms raise one DataError."""
        try:
            yield
        except FileNotFoundError:
            raise cls.source.missing(f"{file} does not exist; expected {form}") from None
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror}); expected {form}; check the file") from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            lacks = f"it lacks {error}" if isinstance(error, KeyError) else "its entries are of another kind"
            found = str(error) if isinstance(error, ValueError) else lacks
            raise cls.source.missing(f"{file} is of another version: {found}; expected {form}") from error

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        data = cls.check_annotations(report, root)
        if data is None:
            return
        for shot, classes in cls.logged_classes.items():
            for fold, official in enumerate(classes):
                subject = f"fold {fold}, {shot}-shot"
                manifest = data.draw_test(report, subject, "incontext", Task(fold, shot=shot))
                if manifest is None:
                    continue
                report.count(subject, len(manifest.class_ids), official, "classes")
                if shot == 1:
                    episodes = len(manifest.episodes)
                    report.count(f"{subject} episodes", episodes, cls.logged_episodes[fold], "episodes")
                    data.check_episodes(report, f"fold {fold}", manifest)

    @classmethod
    def check_annotations(cls, report: Report, root: Path) -> Self | None:
        """Report on the annotation files in `root`; return the data set, or None if it cannot be used."""
        data = report.attempt("folders", lambda: cls(str(root)))
        if data is None or report.attempt("annotations", lambda: data.class_names) is None:
            return None
        report.ok("folders", str(root))
        with report.errors("annotations"):
            if faults := list(data.faults()):
                told = f"{len(faults)} of the listed pairs of photo and class cannot be drawn: {faults[0]}"
                report.differs("annotations", told)
            else:
                photos = len(data.listed_photos())
                report.ok("annotations", f"{photos} photos are listed, each with masks of a known form")
        return data

    def draw_test(self, report: Report, subject: str, protocol: str, task: Task) -> Manifest | None:
        """Return the episodes of a protocol's test; None, with a problem in the report, if they cannot be drawn."""
        return report.attempt(subject, lambda: load_segmentation(protocol).manifest(self, task))

    def check_episodes(self, report: Report, subject: str, manifest: Manifest) -> None:
        """Report whether the photos of a test are there, and whether a sample of its masks can be decoded."""
        names = manifest.image_names
        absent = [name for name in names if not is_file(self.image_path(name))]
        if absent:
            report.problem(f"{subject}, photos", f"{len(absent)} of {len(names)} are missing: {some(absent)}")
            return
        broken = []
        for name in names[:: max(1, len(names) // _DECODED)]:
            try:
                self.label_map(name)
            except FsbenchError as error:
                broken.append(str(error).splitlines()[0])
        if broken:
            report.problem(f"{subject}, masks", f"{len(broken)} of a sample cannot be used: {broken[0]}")
        else:
            report.ok(f"{subject}, photos", f"{len(names)} views; a sample of masks decodes")


@lru_cache(maxsize=100_000)
def photo_size(path: Path) -> tuple[int, int]:
    """Return height and width of a photo from its header."""
    header = picture_header(path)
    return header.height, header.width


def listed_views(pairs: Iterable[Pair]) -> PairList:
    return PairList(tuple(pairs), UNVERIFIED)


def view_photo(name: str) -> str:
    return name.partition(SEPARATOR)[0]
