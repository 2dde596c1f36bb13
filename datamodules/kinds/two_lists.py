"""Data sets with a list of training images, whose order decides which of them are supports, and a list of test images.

DistillFSS's seven data sets are of this kind (fixed-supports.md A).
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from math import ceil
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
from PIL import Image

from fsbench.base.errors import SettingsError
from fsbench.base.files import fingerprint
from fsbench.data.dataset import Part, SegmentationData
from fsbench.data.file_digests import content_digests
from fsbench.data.image_io import read_shades
from fsbench.data.source import ByHand
from fsbench.datamodules.check.media import check_label_maps
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.find_folder import find_folder
from fsbench.datamodules.lists.pixel_counts import PixelTable, count_labels, pixel_table
from fsbench.datamodules.prepare.folders import make_folder
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import has_content

Run = Literal["later", "first"]
"""A run of DistillFSS's program: its first draws the images of the test, later ones read the first's choice."""


class Fifth(NamedTuple):
    """Images of which a fifth is the test.

    Attributes:
        training: the other images in the order of their list.
        drawn: the other images in the order in which they were drawn.
        test: the images of the test, in the order in which they were drawn.
    """

    training: tuple[str, ...]
    drawn: tuple[str, ...]
    test: tuple[str, ...]

    def lists(self, run: Run) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the training images in the order that a run of DistillFSS's program has, and the test images."""
        return self.drawn if run == "first" else self.training, self.test


def random_fifth(names: Sequence[str]) -> Fifth:
    """Draw a fifth of a list as scikit-learn's `train_test_split(names, test_size=0.2, random_state=42)` does.

    Args:
        names: image names in the order of their list.

    >>> random_fifth("abcdefgh").test
    ('b', 'f')
    """
    number = ceil(0.2 * len(names))
    order = [names[place] for place in np.random.RandomState(42).permutation(len(names))]
    chosen = set(order[:number])
    return Fifth(tuple(name for name in names if name not in chosen), tuple(order[number:]), tuple(order[:number]))


class TwoLists(SegmentationData):
    """Data set with a list of training images in an order that matters, and a list of test images.

    Every class is novel, and there is one fold with all of them. Subclasses make the two lists and the label maps.

    Args:
        root: the folder of the data set, or one that holds it as one of `inner`.

    Attributes:
        inner: paths below `root` where the folder may be; `fsbench data prepare` makes the first of them.
        marks: files and folders inside, by which the folder is recognised.
        archive: the archive to download by hand.
        listed: number of training and of test images of the complete data; () if not known.
    """

    folds = 1
    has_published_protocol = True
    label_maps_are: ClassVar[str] = "the data set's masks, by the threshold of DistillFSS's program"
    inner: ClassVar[tuple[str, ...]]
    marks: ClassVar[tuple[str, ...]]
    archive: ClassVar[ByHand]
    listed: ClassVar[tuple[int, ...]] = ()

    def __init__(self, root: str):
        given = Path(root).expanduser()
        self.root = find_folder(given, self.inner, self.marks) or given
        self._tables: dict[Part, PixelTable] = {}
        absent = next((mark for mark in self.marks if not (self.root / mark).exists()), None)
        if absent is not None:
            raise self.source.missing(f"{self.root} has no {absent}; expected {', '.join(self.marks)} in it")

    @abstractmethod
    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return the names of the training and of the test images, in order, by the files that are there."""

    @cached_property
    def images(self) -> tuple[Sequence[str], Sequence[str]]:
        """Names of the training images, and of the test images, in order.

        Raises:
            DataError: a list is empty, or cannot be made.
        """
        lists = self.list_images()
        for part, names in zip(("training", "test"), lists, strict=True):
            if not names:
                raise self.source.missing(f"{self.root} has no {part} images; expected some")
        return lists

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(range(1, len(self.class_names) + 1))

    def candidates(self, part: Part) -> Sequence[str]:
        if part == "held_out":
            raise SettingsError(f"{self.name} keeps no classes for validation; choose novel ones")
        return self.images[part == "val"]

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        """Count the pixels of all images of a part, once."""
        if part not in self._tables:
            every = self.candidates(part)
            files = [*map(self.label_file, every), *self.further_files]
            self._tables[part] = pixel_table(
                every,
                lambda name: count_labels(self.label_map(name)),
                fingerprint=f"{self.name} {fingerprint(content_digests(files))}",
                description=f"Counting class pixels of {self.name}",
            )

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        table = next((table for table in self._tables.values() if name in table), None)
        return super().class_pixels(name) if table is None else table.class_pixels(name)

    # Preparation and check

    @classmethod
    def place(cls, name: PurePosixPath) -> str | None:
        """Return the path below the data set's folder of a file of the archive; None if it is not needed."""
        return below(name, cls.marks)

    @classmethod
    def add_files(cls, job: Job, making: Path) -> None:
        """Put files that are not in the archive into the folder `making`; by default there are none."""

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack the user's archive into the first of `inner` below the root; return remarks for the user.

        Raises:
            DataError: the archive is neither in the root nor in the folder of `--from`, or lacks files.
        """
        if cls.is_prepared(job.root):
            return []

        def check(making: Path, archive: Path) -> None:
            cls.add_files(job, making)
            absent = [mark for mark in cls.marks if not (making / mark).exists()]
            job.require_complete(
                archive, not absent, False, f"no {', '.join(absent)}", f"{', '.join(cls.marks)} with their images"
            )

        return make_folder(job, cls.source, cls.archive, job.root / cls.inner[0], cls.place, check)

    @classmethod
    def is_prepared(cls, root: Path) -> bool:
        """Return whether `root` holds the data set's folder."""
        return any(all(has_content(folder / mark) or (folder / mark).is_file() for mark in cls.marks)
                   for folder in (root, *(root / inner for inner in cls.inner)))  # fmt: skip

    @classmethod
    def detect(cls, root: Path) -> Self:
        """Return the data set in `root` for a check."""
        return cls(str(root))

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        """Report on folders, files and the numbers of images in `root`; `lists` is not used."""
        data = report.attempt("folder", lambda: cls.detect(root))
        both = report.attempt("lists", lambda: data.images) if data else None
        if data is None or both is None:
            return
        report.ok("folder", str(data.root))
        for place, (part, names) in enumerate(zip(("training", "test"), both, strict=True)):
            report.count("lists", len(names), cls.listed[place] if cls.listed else None, f"{part} images")
        check_label_maps(report, "images, masks", data, [*both[0], *both[1]])


def below(name: PurePosixPath, folders: Iterable[str]) -> str | None:
    """Return the part of an archive's path from the first of `folders` on; None for other files, and hidden ones.

    >>> below(PurePosixPath("Kvasir-SEG/masks/a.jpg"), ["images", "masks"])
    'masks/a.jpg'
    """
    if "__MACOSX" in name.parts or name.name.startswith("."):
        return None
    parts = name.parts
    for place in range(len(parts)):
        path = "/".join(parts[place:])
        if any(path == folder or path.startswith(f"{folder}/") for folder in folders):
            return path
    return None


def visible_names(folder: Path) -> list[str]:
    """Return the names in a folder that do not start with a dot, in the order of their bytes."""
    return sorted((path.name for path in folder.iterdir() if not path.name.startswith(".")), key=str.encode)


def grey(path: Path) -> np.ndarray:
    """Read a mask as PIL's grey values (H, W) uint8.

    Raises:
        DataError: the file cannot be decoded, or has half-transparent pixels.
    """
    return np.asarray(Image.fromarray(read_shades(path, from_1=True)).convert("L"))
