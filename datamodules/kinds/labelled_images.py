"""Base class of classification data sets: images below one folder, listed by a rule or by a file."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.data.copies import copy_remarks
from fsbench.data.dataset import ClassificationData
from fsbench.datamodules.check.media import check_files
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.class_folders import below_folders, class_folders, listed_classes, require_images, spoken
from fsbench.datamodules.kinds.find_folder import find_folder, require_folder
from fsbench.datamodules.lists.image_list import read_list
from fsbench.datamodules.prepare.folders import unpack_wanted_files
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import has_content


class LabelledImages(ClassificationData):
    """Classification data set of photos below one folder; an image's name is its path relative to this folder.

    A subclass declares where the photos are, and whether their folders or a text file tell the classes (fort.md §2).

    Args:
        root: the folder as its publisher distributes it, or a folder that holds this one.
        lists: path of a list file in the authors' form, used instead of the list that follows from the files; or a list
            with one such path.
    """

    parts: tuple[str, ...] = ()
    """Names in the publisher's folder, by which it is recognised; the first is the folder of the photos."""
    inner: tuple[str, ...] = ()
    """Folders below `root` that the publisher's may be."""
    official: tuple[int, int | None] | None = None
    """Classes and images of the complete list."""
    number_in_folder = ""
    """Pattern of what a class folder's name has before the class's."""
    most: int | None = None
    """Number of photos taken of each class folder, the first by name; None takes all."""
    listing: tuple[str, str] | None = None
    """Text file that names the photos' classes, and the form of its lines; None for class folders."""
    numbered = False
    """Whether the file numbers the classes, which are then named after their photos, without the last `_` and after."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.source.archives:
            holds = tuple(pattern for archive in cls.source.archives for pattern in archive.files)
            cls.source = replace(cls.source, dataset=cls.name, holds=holds)

    def __init__(self, root: str, lists: str | list[str] | None = None):
        given, expected = Path(root).expanduser(), "" if self.parts else "a folder for each class"
        self.root = require_folder(self.source, given, self.inner, self.parts, expected)
        self.folder = self.root / (self.parts[0] if self.parts else ".")
        files = [lists] if isinstance(lists, str) else lists or []
        if len(files) > 1:
            raise DataError(f"{self.name} was given {len(files)} list files; expected one with all classes")
        classes = read_list(Path(files[0]).expanduser(), self.folder) if files else self.derive()
        self.class_names = tuple(name for name, _ in classes)
        self.images = tuple(tuple(images) for _, images in classes)
        expected_classes, expected_images = self.official or (len(classes), None)
        is_complete = len(classes) == expected_classes and expected_images in (None, sum(map(len, self.images)))
        self.origin = ("given" if files else "derived") + ("" if is_complete else ", incomplete")

    def image_path(self, name: str) -> Path:
        return self.folder / name

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        if self.listing is not None:
            file, form = self.listing
            return listed_classes(self.root / file, form, self.folder, self.numbered)
        folders = class_folders(self.folder)
        require_images(folders, self.folder)
        return below_folders(folders, lambda name: spoken(re.sub(self.number_in_folder, "", name)), self.most)

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        folder = find_folder(job.root, cls.inner, cls.parts)
        if job.lists is None and folder and all(has_content(folder / part) for part in cls.parts):
            return []
        return unpack_wanted_files(job, cls.name, cls.source)

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        if cls.official is None:
            report.complete = "usable"
        data = report.attempt("list", lambda: cls(str(root), lists))
        if data is None:
            return
        for note in data.notes:
            report.note("images", note)
        classes, images = cls.official or (None, None)
        sizes = [len(of_class) for of_class in data.images]
        report.count("classes", len(sizes), classes, "classes")
        report.count("images", sum(sizes), images, f"images, {min(sizes)} to {max(sizes)} a class")
        names = [name for own in data.images for name in own]
        check_files(report, "files", names, data.image_path, turns_images=cls.turns_images)
        for found in copy_remarks(data, names):
            report.note("files", found)
        report.ok("list", f"{data.origin}, sha256 {data.sha256}")
