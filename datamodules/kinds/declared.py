"""Published data sets that are declarations: `TwoLists` and `ListedMasks` are made of this."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from fsbench.base.errors import DataError
from fsbench.data.dataset import Pair, Part, SegmentationData
from fsbench.data.source import ByHand
from fsbench.datamodules.check.media import check_label_maps
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.declaration import Declaration, Texts, files
from fsbench.datamodules.kinds.find_folder import require_folder
from fsbench.datamodules.prepare.by_hand import find_archive
from fsbench.datamodules.prepare.folders import Check, make_folder
from fsbench.datamodules.prepare.job import Job, unpublished
from fsbench.datamodules.prepare.making import discard, making_place, publish
from fsbench.datamodules.prepare.unpack import Place, unpack

Write = Callable[[Job, Sequence[Path], Path, Path], list[str]]
"""Function (job, archives, folder in which each is unpacked, folder to write) that returns remarks for the user."""


class Declared(SegmentationData):
    """Data set that its declaration describes; every class is novel, in one fold unless the data set has its own.

    Args:
        root: the folder of the data set, or one that holds it as one of the declaration's `inner`.
    """

    folds = 1
    has_published_protocol = True
    declaration: ClassVar[Declaration]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if own := vars(cls).get("declaration"):
            cls.source = replace(own.source, dataset=own.name, holds=own.source.holds or own.holds)
            cls.declaration = replace(own, source=cls.source)
            cls.name, cls.class_names, cls.same_classes_as = own.name, own.class_names, own.same_classes_as
            cls.classes_of_fold = len(own.class_names) or cls.classes_of_fold

    def __init__(self, root: str):
        own = self.declaration
        self.root = require_folder(self.source, Path(root).expanduser(), own.inner, own.marks)

    @cached_property
    def texts(self) -> Mapping[str, Texts]:
        """{image name: what the patterns of its files take}, in the order of the data set's list."""
        return self.declaration.find_images(self.root)

    def texts_of(self, name: str) -> Texts:
        """Return what the patterns take of an image. Raises DataError for one that the data set does not have."""
        if name not in self.texts:
            raise DataError(f"{self.root} has no image {name[:60]!a} of {self.name}; expected one; correct the name")
        return self.texts[name]

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(range(1, len(self.class_names) + 1))

    @property
    def knows_kinds(self) -> bool:
        """Whether a folder, or a list of the data set's own, tells the one class that each image shows."""
        return "{kind}" in (self.declaration.listed or "{kind}")

    def class_number(self, name: str) -> int:
        return (self.declaration.kinds or self.class_names).index(self.texts_of(name)["kind"]) + 1

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        if not self.knows_kinds:
            return super().listed_pairs(part)
        return ((name, self.class_number(name)) for name in self.candidates(part))

    def image_path(self, name: str) -> Path:
        found = files(self.root, self.declaration.photo, self.texts_of(name))
        if len(found) > 1:
            raise DataError(f"{found[0].parent} has {len(found)} images; expected one; fetch the data set again")
        return found[0]

    def label_file(self, name: str) -> Path:
        return files(self.root, self.declaration.labels, self.texts_of(name))[0]

    @property
    @abstractmethod
    def every_name(self) -> Sequence[str]:
        """Names of all images of all lists."""

    @abstractmethod
    def report_lists(self, report: Report) -> None:
        """Report the numbers of images in the lists, and what only this data set has."""

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        own = cls.declaration
        return [] if own.is_prepared(job.root) else (own.make or unpack_archive)(job, own)

    @classmethod
    def detect(cls, root: Path) -> "Declared":
        """Return the data set in `root` for a check; subclasses choose options by the files that are there."""
        return cls(str(root))

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        data = report.attempt("folder", lambda: cls.detect(root))
        names = report.attempt("lists", lambda: data.every_name) if data else None
        if data is not None and names is not None:
            report.ok("folder", str(data.root))
            data.report_lists(report)
            check_label_maps(report, "images, masks", data, names)


def unpack_archive(job: Job, own: Declaration, place: Place | None = None, check: Check | None = None) -> list[str]:
    """Unpack the user's archive into the data set's folder, by the declaration's `place`; return remarks for the user.

    `check` is a further check of the unpacked folder, or adds files to it.
    """

    def check_marks(making: Path, archive: Path) -> None:
        if check is not None:
            check(making, archive)
        absent = ", ".join(mark for mark in own.marks if not any(making.glob(mark)))
        job.require_complete(archive, not absent, False, f"no {absent}", f"{', '.join(own.marks)} with their images")

    target = job.root / own.inner[0]
    return make_folder(job, own.source, own.source.by_hand[0], target, place or own.place, check_marks)


def remake_archives(
    job: Job, own: Declaration, write: Write, place: Place | None = None, archives: Sequence[ByHand] = ()
) -> list[str]:
    """Write the data set's folder from what the user's archives have; return remarks for the user.

    Archives are unpacked where `place` is given; they are all of the source, unless others are given.
    """
    found = [find_archive(job, archive, own.source) for archive in archives or own.source.by_hand]
    target = job.root / own.inner[0]
    with making_place(job.root / "unpacked") as unpacked:
        unpacked.mkdir(exist_ok=True)
        for other in {path.name for path in unpacked.iterdir() if path.is_dir()} - {file.name for file in found}:
            discard(unpacked / other)  # of an earlier try
        if place is not None:
            for file in found:
                unpack(file, unpacked / file.name, place)
        with making_place(target) as making:
            remarks = write(job, found, unpacked, making)
            publish(making, target)
    for file in found:
        job.note(file, None, verified=False)
    return [*(unpublished(file.name) for file in found), *remarks]
