"""Photos in one folder and label PNGs of the same names in another: the layout of PASCAL VOC and of many others."""

from collections.abc import Collection, Container, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files.names import composed, other_case
from fsbench.data.dataset import VOID
from fsbench.data.image_io import read_label_map
from fsbench.data.palettes import SeenColours
from fsbench.datamodules.check.report import some
from fsbench.datamodules.kinds.binary_masks import CountedOnce
from fsbench.datamodules.lists.text_file import read_list

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class MaskFolder(CountedOnce):
    """Data set with an image and a label map for each name; subclasses decide which (image, class) pairs are listed."""

    def __init__(self, image_folder: Path, label_folder: Path, class_numbers: Collection[int]):
        self.class_numbers = frozenset(class_numbers)
        self.image_folder = image_folder
        self.label_folder = label_folder
        self._colours: SeenColours = {}

    @cached_property
    def _image_files(self) -> dict[str, str]:
        """Image name -> file name; listed once, because a look-up of three suffixes per image is slow on a network."""
        return {name: path.name for name, path in named_files(self.image_folder, IMAGE_SUFFIXES).items()}

    def image_path(self, name: str) -> Path:
        return self.image_folder / self._image_files.get(name, f"{name}.jpg")

    def label_file(self, name: str) -> Path:
        return self.label_folder / f"{name}.png"

    def label_map(self, name: str) -> np.ndarray:
        return read_numbers(self.label_file(name), self._colours, self.class_numbers)

    def label_names(self) -> list[str]:
        """Names of all label maps in the folder, ascending."""
        return sorted(path.stem for path in self.label_folder.iterdir() if path.suffix == ".png")

    def require_files(self, names: Sequence[str], source: str | Path) -> None:
        """Raise DataError if an image of the list `source` lacks its photo or its label map."""
        require_present(names, self._image_files, source, "image", self.image_folder, IMAGE_SUFFIXES)
        require_present(names, set(self.label_names()), source, "label map", self.label_folder, [".png"])


def named_files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Return {name: file} of the files in a folder with one of the suffixes, accents in Unicode's composed form."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = composed(path.stem)
        if path.suffix.lower() in suffixes and files.setdefault(name, path) != path:
            raise DataError(
                f"{folder} has two files named {name}: {files[name].name} and {path.name}; expected one for an image; "
                "remove one or rename it with its label map"
            )
    return files


def read_numbers(path: Path, seen: SeenColours, classes: Collection[int], photo: Path | None = None) -> np.ndarray:
    """Read a label map (H, W) uint8 that holds numbers of classes, 0 and 255; arguments are `read_label_map`'s."""
    labels = read_label_map(path, seen, photo=photo)
    numbers = np.flatnonzero(np.bincount(labels.ravel(), minlength=VOID + 1))
    if unknown := sorted(set(numbers.tolist()) - {0, VOID, *classes}):
        more = f" and {len(unknown) - 1} more that are none, as smoothed or lossy edges have" * (len(unknown) > 2)
        raise DataError(
            f"label map {path} holds the class number {unknown[0]}{more}; expected 0, 255 or one of {ranges(classes)}; "
            "correct the label map or the list of classes"
        )
    return labels


def read_names(path: Path) -> list[str]:
    """Read the image names of a list file, each of them once; a line may be an "image label" pair."""
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


def require_present(
    listed: Sequence[str], present: Container[str], source: str | Path, kind: str, folder: Path, suffixes: Sequence[str]
) -> None:
    """Raise DataError if a name of the list `source` is not among those `present`, which have a file of the kind."""
    absent = sorted({name for name in listed if name not in present})
    if absent:
        like = other_case(folder / f"{absent[0]}{suffixes[0]}", suffixes)
        raise DataError(
            f"{len(absent)} of {len(set(listed))} names in {source} have no {kind} ({', '.join(suffixes)}) in "
            f"{folder}: {some(absent, 3)}{like}; expected a file for each; complete the folder or shorten the list"
        )


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as short text.

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
