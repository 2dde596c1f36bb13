"""Photos in one folder and label PNGs of the same names in another: the layout of PASCAL VOC and of many others."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import fingerprint
from fsbench.base.files.names import composed, other_case
from fsbench.data.dataset import VOID, Part, SegmentationData
from fsbench.data.file_digests import content_digests
from fsbench.data.image_io import read_label_map
from fsbench.data.palettes import SeenColours
from fsbench.datamodules.lists.pixel_counts import PixelTable, count_labels, pixel_table
from fsbench.datamodules.lists.text_file import read_list

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class MaskFolder(SegmentationData):
    """Data set with an image and a label map for each name; subclasses decide which (image, class) pairs are listed."""

    def __init__(self, image_folder: Path, label_folder: Path, class_numbers: Collection[int]):
        self.image_folder = image_folder
        self.label_folder = label_folder
        self.class_numbers = frozenset(class_numbers)
        self._tables: dict[tuple[str, str], PixelTable] = {}
        self._colours: SeenColours = {}

    @cached_property
    def _image_files(self) -> dict[str, str]:
        """Image name -> file name; listed once, because a look-up of three suffixes per image is slow on a network."""
        files: dict[str, str] = {}
        for path in sorted(self.image_folder.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                stem = composed(path.stem)
                if stem in files:
                    raise DataError(
                        f"{self.image_folder} has two images named {stem}: {files[stem]} and {path.name}; "
                        "expected one image for a label map; remove one or rename it with its label map"
                    )
                files[stem] = path.name
        return files

    def image_path(self, name: str) -> Path:
        return self.image_folder / self._image_files.get(composed(name), f"{name}.jpg")

    def label_file(self, name: str) -> Path:
        path = self.label_folder / f"{name}.png"
        return path if name.isascii() else self._accented_label_files.get(composed(name), path)

    @cached_property
    def _accented_label_files(self) -> dict[str, Path]:
        """Name -> label map, of the names that have more than one form in Unicode."""
        files: dict[str, Path] = {}
        for path in (self.label_folder / f"{name}.png" for name in self.label_names() if not name.isascii()):
            if files.setdefault(composed(path.stem), path) != path:
                raise DataError(
                    f"{self.label_folder} has two label maps named {path.stem}, whose accents are written in two ways; "
                    "expected one label map for an image; remove one"
                )
        return files

    def label_map(self, name: str) -> np.ndarray:
        photo = self.image_path(name) if self.turns_images else None
        return read_label_map(self.label_file(name), self._colours, photo=photo)

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        for table in self._tables.values():
            if name in table:
                return table.class_pixels(name)
        return super().class_pixels(name)

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        """Add the pixel counts of `names` to the data set's table, unless it has them."""
        if not all(any(name in table for table in self._tables.values()) for name in names):
            self.count_table(sorted(names))

    def label_names(self) -> list[str]:
        """Names of all label maps in the folder, ascending."""
        return sorted(path.stem for path in self.label_folder.iterdir() if path.suffix == ".png")

    def without_image(self, names: Iterable[str]) -> list[str]:
        """Return the names that have no image, ascending."""
        return sorted({name for name in names if composed(name) not in self._image_files})

    def without_label_map(self, names: Iterable[str]) -> list[str]:
        """Return the names that have no label map, ascending."""
        there = set(map(composed, self.label_names()))
        return sorted({name for name in names if composed(name) not in there})

    def require_files(self, names: Sequence[str], source: str | Path) -> None:
        """Raise DataError if an image of the list `source` lacks its photo or its label map."""
        absent = self.without_image(names)
        if absent:
            remark = other_case(self.image_path(absent[0]), IMAGE_SUFFIXES)
            raise DataError(_absent(absent, names, source, "image (.jpg, .jpeg or .png)", self.image_folder, remark))
        absent = self.without_label_map(names)
        if absent:
            remark = other_case(self.label_file(absent[0]))
            raise DataError(_absent(absent, names, source, "label map (.png)", self.label_folder, remark))

    def count_table(self, names: Sequence[str], rule: str = "pixels", count: Callable | None = None) -> PixelTable:
        """Return the pixel counts of `names`, from the disk cache or by counting label maps.

        Args:
            names: image names.
            rule: name of the counting rule, which is part of the cache's key.
            count: function from a label map to rows (label, pixels, …) of a `PixelTable`; None counts the pixels of
                each label.

        Raises:
            DataError: a label map holds a number that is neither a class, 0 nor 255.
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
            image = np.searchsorted(table.starts, unknown[0], side="right") - 1
            several = int(np.count_nonzero(unknown < table.starts[image + 1]))
            smeared = f" and {several - 1} more that are none, as smoothed or lossy edges have" * (several > 2)
            raise DataError(
                f"label map {self.label_file(table.names[image])} holds the class number {table.rows[unknown[0], 0]}"
                f"{smeared}; expected 0, 255 or one of {ranges(self.class_numbers)}; correct the label map or "
                "the list of classes"
            )


def read_names(path: Path) -> list[str]:
    """Read image names from a list file: a name per line, or an "image label" pair; folders and suffixes are dropped.

    Raises:
        DataError: the list is unreadable or empty, or a name occurs twice.
    """
    lines = [line.strip() for line in read_list(path, expected="a text file with a name on a line").splitlines()]
    names = [name_in(line) for line in lines if line]
    if not names:
        raise DataError(f"list {path} is empty; expected an image name on each line")
    plain = [composed(name) for name in names]
    if len(set(plain)) < len(plain):
        twice = next(name for name in plain if plain.count(name) > 1)
        raise DataError(f"list {path} has the name {twice} twice; expected each name once; remove one of the lines")
    return names


def name_in(line: str) -> str:
    """Return the image name in a line of a list, without folder and suffix; of an "image label" pair the first."""
    line = line.replace("\\", "/")  # lists that were made on Windows
    parts = line.split()
    if len(parts) == 2 and all(Path(part).suffix.lower() in IMAGE_SUFFIXES for part in parts):
        line = parts[0]
    path = Path(line)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def _absent(
    names: Sequence[str], listed: Sequence[str], source: str | Path, kind: str, folder: Path, remark: str
) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return (
        f"{len(names)} of {len(set(listed))} names in {source} have no {kind} in {folder}: {shown}{remark}; expected "
        "a file for each; complete the folder or take the names out of the list"
    )


def ranges(numbers: Iterable[int]) -> str:
    """Return ascending numbers as short text, consecutive ones as "1 to 3".

    >>> ranges({1, 2, 3, 9, 255})
    '1 to 3, 9, 255'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
