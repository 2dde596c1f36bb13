"""Photos in one folder and label PNGs of the same names in another: the layout of PASCAL VOC and of many others."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import fingerprint
from fsbench.data.dataset import VOID, Part, SegmentationIndex
from fsbench.data.file_digests import content_digests
from fsbench.data.image_io import read_label_map
from fsbench.datamodules.lists.pixel_counts import PixelTable, count_labels, pixel_table
from fsbench.datamodules.lists.text_file import read_list

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class MaskFolder(SegmentationIndex):
    """Files, label maps and pixel counts; which pairs make a list is the subclass's decision."""

    def __init__(self, image_folder: Path, label_folder: Path, class_numbers: Collection[int]):
        self.image_folder = image_folder
        self.label_folder = label_folder
        self.class_numbers = frozenset(class_numbers)
        self._tables: dict[tuple[str, str], PixelTable] = {}

    @cached_property
    def _image_files(self) -> dict[str, str]:
        """Image name -> file name; listed once, because a look-up of three suffixes per image is slow on a network."""
        files: dict[str, str] = {}
        for path in sorted(self.image_folder.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                if path.stem in files:
                    raise DataError(
                        f"{self.image_folder} has two images named {path.stem}: {files[path.stem]} and {path.name}; "
                        "expected one image for a label map; remove one or rename it with its label map"
                    )
                files[path.stem] = path.name
        return files

    def image_path(self, name: str) -> Path:
        return self.image_folder / self._image_files.get(name, f"{name}.jpg")

    def label_file(self, name: str) -> Path:
        return self.label_folder / f"{name}.png"

    def label_map(self, name: str) -> np.ndarray:
        return read_label_map(self.label_file(name))

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        for table in self._tables.values():
            if name in table:
                return table.class_pixels(name)
        return super().class_pixels(name)

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        """Fill the table of counts with `names`, unless one has them."""
        if not all(any(name in table for table in self._tables.values()) for name in names):
            self.count_table(sorted(names))

    def label_names(self) -> list[str]:
        """Names of all label maps in the folder, ascending."""
        return sorted(path.stem for path in self.label_folder.iterdir() if path.suffix == ".png")

    def require_files(self, names: Sequence[str], source: str | Path) -> None:
        """Raise DataError unless every name of the list `source` has a photo and a label map."""
        without_image = sorted({name for name in names if name not in self._image_files})
        if without_image:
            raise DataError(_absent(without_image, names, source, "image (.jpg, .jpeg or .png)", self.image_folder))
        labels = set(self.label_names())
        without_label = sorted({name for name in names if name not in labels})
        if without_label:
            raise DataError(_absent(without_label, names, source, "label map (.png)", self.label_folder))

    def count_table(self, names: Sequence[str], rule: str = "pixels", count: Callable | None = None) -> PixelTable:
        """The rows of `names`; `count(labels) -> rows` (see `PixelTable`) follows `rule`, whose name keys the cache.

        Raises DataError where a label map holds a number that is no class.
        """
        key = (rule, hashlib.sha256("\n".join(names).encode()).hexdigest())
        if key not in self._tables:
            count_map = count or count_labels
            table = pixel_table(
                names,
                lambda name: count_map(self.label_map(name)),
                fingerprint=f"{rule} {fingerprint(content_digests([*map(self.label_file, names)]))}",
                description=f"Counting class pixels in {self.label_folder.name}",
            )
            self._require_known_labels(table)
            self._tables[key] = table
        return self._tables[key]

    def _require_known_labels(self, table: PixelTable) -> None:
        unknown = np.flatnonzero(~np.isin(table.rows[:, 0], [0, VOID, *self.class_numbers]))
        if len(unknown):
            name = table.names[np.searchsorted(table.starts, unknown[0], side="right") - 1]
            raise DataError(
                f"label map {self.label_file(name)} holds the class number {table.rows[unknown[0], 0]}; expected 0, "
                f"255 or one of {_ranges(self.class_numbers)}; correct the label map or the list of classes"
            )


def read_names(path: Path) -> list[str]:
    """Image names of a list file: one on a line, or "image label" file pairs. Folders and suffixes are taken off.

    Raises DataError for unreadable and empty lists and for names that occur twice.
    """
    lines = [line.strip() for line in read_list(path, expected="a text file with a name on a line").splitlines()]
    names = [_name_in(line) for line in lines if line]
    if not names:
        raise DataError(f"list {path} is empty; expected an image name on each line")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"list {path} has the name {twice} twice; expected each name once; remove one of the lines")
    return names


def _name_in(line: str) -> str:
    parts = line.split()
    if len(parts) == 2 and all(Path(part).suffix.lower() in IMAGE_SUFFIXES for part in parts):
        line = parts[0]
    path = Path(line)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def _absent(names: Sequence[str], listed: Sequence[str], source: str | Path, kind: str, folder: Path) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return (
        f"{len(names)} of {len(set(listed))} names in {source} have no {kind} in {folder}: {shown}; expected a file "
        "for each; complete the folder or take the names out of the list"
    )


def _ranges(numbers: Collection[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low} to {high}" if len(numbers) == high - low + 1 else ", ".join(map(str, sorted(numbers)))
