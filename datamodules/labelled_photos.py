"""Data sets of labelled photos: lists that follow from the publisher's layout by a rule, or are given as a file."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath

import numpy as np

from datamodules.disk_cache import load_arrays, save_arrays
from datamodules.fetch import IMAGE_FOLDER, missing
from fsbench.errors import DataError
from fsbench.files import write_text
from fsbench.images import ImageIndex, list_sha256

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
_KEYS = ("label_names", "image_names", "image_labels")


class LabelledPhotos(ImageIndex):
    """Photos below one folder; an image's name is its path there.

    A subclass says in which folder the photos are and how the list follows from the files (fort.md §2).

    Args:
        root: the publisher's folder, or one that holds it.
        lists: a list file in the authors' form, which takes the place of the derived list; also as a list of one.

    Raises DataError for a missing folder, classes without images, listed images that are not there.
    """

    parts: tuple[str, ...] = ()
    """What the publisher's folder holds."""
    inner: tuple[str, ...] = ()
    """Folders below `root` that the publisher's may be."""
    photos = "."
    """Folder of the photos below the publisher's."""
    official: tuple[int, int | None] | None = None
    """Classes and images of the complete list."""
    guide = ""
    """What to fetch."""

    def __init__(self, root: str, lists: str | list[str] | None = None):
        self.root = self._find(Path(root).expanduser())
        self.folder = self.root / self.photos
        files = [lists] if isinstance(lists, str) else lists or []
        if len(files) > 1:
            raise DataError(f"{self.name} was given {len(files)} list files; expected one with all classes")
        classes = read_list(Path(files[0]).expanduser(), self.folder) if files else self.derive()
        self.class_names = tuple(name for name, _ in classes)
        self.images = tuple(tuple(images) for _, images in classes)
        self.origin = ("given" if files else "derived") + ("" if self._complete() else ", incomplete")

    def _complete(self) -> bool:
        """Whether the list has as many classes and images as the publisher's."""
        classes, images = self.official or (len(self.images), None)
        return len(self.images) == classes and images in (None, sum(map(len, self.images)))

    def image_path(self, name: str) -> Path:
        return self.folder / name

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        """Name and images of every class."""
        raise NotImplementedError

    @classmethod
    def present(cls, root: Path) -> Path | None:
        """The publisher's folder in `root`, or `root` itself; None where it is not, or not complete."""
        folders = (root, *(root / inner for inner in cls.inner))
        complete = (f for f in folders if f.is_dir() and all((f / part).exists() for part in cls.parts))
        return next(complete, None)

    def _find(self, root: Path) -> Path:
        folder = self.present(root)
        if folder is not None:
            return folder
        expected = " and ".join(self.parts) or "a folder for each class"
        problem = f"{root} has no {expected}" if root.is_dir() else f"{root} does not exist"
        raise missing(f"{problem}; expected the {self.name} folder with {expected}", self.guide)


def class_folders(folder: Path) -> dict[str, tuple[str, ...]]:
    """Sub-folder -> its image files, both sorted by name; hidden files and other kinds are left out.

    The answer is kept in the user's cache folder and holds as long as no folder changes. Raises DataError for a folder
    that cannot be read and names that are no text.
    """
    folders = sorted((entry for entry in _entries(folder) if entry.is_dir()), key=lambda entry: entry.name)
    state = [str(folder.resolve()), [(entry.name, entry.stat().st_mtime_ns) for entry in folders]]
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    kept = load_arrays("photos", key)
    if kept is not None:
        return {name: tuple(files) for name, files in json.loads(kept["names"].tobytes()).items()}
    found = {
        entry.name: tuple(
            sorted(
                f.name for f in _entries(Path(entry.path)) if f.name.lower().endswith(IMAGE_SUFFIXES) and f.is_file()
            )
        )
        for entry in folders
    }
    save_arrays("photos", key, {"names": np.frombuffer(json.dumps(found).encode(), np.uint8)})
    return found


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What is in `folder` and not hidden."""
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read ({error.strerror}); make it readable") from error
    for entry in shown:
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"folder {folder} has the name {os.fsencode(entry.name)!r}, which is not UTF-8; expected names that "
                "can be written into a list; rename it"
            ) from None
    return shown


def require_images(folders: Mapping[str, Collection[str]], folder: Path) -> None:
    """Raise DataError where there are no class folders or one has no images."""
    if not folders:
        raise DataError(f"{folder} has no class folders; expected a folder for each class with its images in it")
    empty = [name for name, files in folders.items() if not files]
    if empty:
        raise DataError(
            f"{len(empty)} of {len(folders)} class folders in {folder} have no images (first: {empty[0]}); expected "
            f"{', '.join(IMAGE_SUFFIXES)} files directly in each; put images there, or remove the folder"
        )


def rows(source: Path, columns: int, form: str) -> list[list[str]]:
    """Words of every line of the text file `source` but comments; what is left goes into the last of `columns`.

    Raises DataError unless every line has the `form`.
    """
    try:
        lines = [line.split(maxsplit=columns - 1) for line in source.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source} cannot be read ({error}); expected lines {form}; fetch it again") from error
    lines = [line for line in lines if line and not line[0].startswith("#")]
    if not lines or any(len(line) != columns for line in lines):
        raise DataError(f"{source} has a line of another form; expected {form} in each; fetch it again")
    return lines


def by_class(labels: Mapping[str, str], folder: Path, source: Path) -> dict[str, list[str]]:
    """{image: class}, as the file `source` says, as {class: its images}, both sorted.

    Raises DataError for images that are not in `folder`.
    """
    present = {entry.name for entry in _entries(folder)}
    require_present([name for name in labels if name not in present], len(labels), folder, source)
    classes: dict[str, list[str]] = {}
    for name in sorted(labels):
        classes.setdefault(labels[name], []).append(name)
    return {name: classes[name] for name in sorted(classes)}


def require_present(absent: Sequence[str], listed: int, folder: Path, source: Path) -> None:
    if absent:
        raise DataError(
            f"{len(absent)} of {listed} images of {source} are not in {folder} (first: {absent[0]}); expected all; "
            "complete the folder, or take them out of the list"
        )


def read_list(path: Path, folder: Path) -> list[tuple[str, Sequence[str]]]:
    """Classes and images of a list file in the authors' form: classes in the order of their numbers, images as listed.

    Its image names may be paths of another machine: as much of their end is taken as is found in `folder`. Raises
    DataError for another form, images that are not there, and lists that are not what their `sha256` says.
    """
    names, images, labels, sha256 = _read_arrays(path)
    numbers = sorted(set(labels))
    if numbers[0] < 0 or (numbers[-1] >= len(names) and len(numbers) != len(names)):
        raise DataError(
            f"list file {path} has the label {numbers[0] if numbers[0] < 0 else numbers[-1]} and {len(names)} label "
            "names; expected a name for each label, counted from 0"
        )
    own = {number: names[number] if numbers[-1] < len(names) else names[rank] for rank, number in enumerate(numbers)}
    below = _local_names(images, folder)
    require_present([name for name in images if name not in below], len(images), folder, path)
    _require_different(images, below, folder, path)
    classes: dict[int, list[str]] = {number: [] for number in numbers}
    for name, number in zip(images, labels, strict=True):
        classes[number].append(below[name])
    listed: list[tuple[str, Sequence[str]]] = [(own[number], tuple(classes[number])) for number in numbers]
    if sha256 is not None and sha256 != list_sha256(*zip(*listed, strict=True)):
        raise DataError(f"list file {path} was altered: it holds other names than its sha256 says; fetch it again")
    return listed


def _require_different(images: Sequence[str], below: Mapping[str, str], folder: Path, source: Path) -> None:
    """Raise DataError where two entries are one file, which could be support and query of an episode at once."""
    first: dict[str, str] = {}
    for name in images:
        file = os.path.realpath(folder / below[name])
        if file in first:
            raise DataError(
                f"list file {source} has the image {name} twice (also as {first[file]}); expected every image once, or "
                "a support may be a query; take one out"
            )
        first[file] = name


def _read_arrays(path: Path) -> tuple[list[str], list[str], list[int], str | None]:
    form = f"expected a JSON object with {', '.join(_KEYS)}"
    try:
        content = json.loads(path.read_bytes())
        names, images, labels = (content[key] for key in _KEYS)
    except OSError as error:
        raise DataError(f"list file {path} cannot be read ({error.strerror}); {form}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"list file {path} is of another form ({type(error).__name__}: {error}); {form}") from error
    kinds = ((names, str), (images, str), (labels, int))
    if not all(isinstance(array, list) and all(type(entry) is kind for entry in array) for array, kind in kinds):
        raise DataError(f"list file {path} holds other things than names and numbers; {form}")
    if len(images) != len(labels) or not images:
        raise DataError(f"list file {path} has {len(images)} images and {len(labels)} labels; expected equally many")
    return names, images, labels, content.get("sha256")


def _local_names(images: Sequence[str], folder: Path) -> dict[str, str]:
    """Listed name -> name below `folder`, for those that are there."""
    found = {}
    is_folder = cache(Path.is_dir)  # spares most of the look-ups of files
    for name in images:
        parts = PurePath(name).parts
        ends = (PurePath(*parts[start:]) for start in range(len(parts)))
        inside = (end for end in ends if not end.is_absolute() and ".." not in end.parts)
        for end in inside:
            if is_folder(folder / end.parent) and (folder / end).is_file():
                found[name] = end.as_posix()
                break
    return found


def write_list(index: ImageIndex, path: Path) -> None:
    """`index` as a list file in the authors' form, with its sha256."""
    content = {
        "label_names": list(index.class_names),
        "image_names": [name for images in index.images for name in images],
        "image_labels": [number for number, images in enumerate(index.images) for _ in images],
        "sha256": index.sha256,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content) + "\n")
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror}); choose another file") from error


def spoken(text: str) -> str:
    """A class's name as text prompts have it: `Black_footed_Albatross` -> `black footed albatross`."""
    return text.replace("_", " ").lower()


class ImageFolder(LabelledPhotos):
    """Anybody's photos: a folder for each class, sorted by name.

    Args:
        root: folder of the class folders.
        lists: as `LabelledPhotos` has it.
        classes: take these folders alone.
        max_images: of each class, the first by name.
    """

    name = "imagefolder"
    guide = IMAGE_FOLDER

    def __init__(
        self,
        root: str,
        lists: str | list[str] | None = None,
        classes: list[str] | None = None,
        max_images: int | None = None,
    ):
        self.classes = classes
        self.max_images = max_images
        super().__init__(root, lists)

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        folders = class_folders(self.folder)
        if self.classes is not None:
            absent = [name for name in self.classes if name not in folders]
            if absent:
                raise DataError(f"{self.folder} has no class folder {absent[0]}, which classes asks for; correct it")
            folders = {name: folders[name] for name in sorted(set(self.classes))}
        require_images(folders, self.folder)
        return below_folders(folders, lambda name: name, self.max_images)


def below_folders(
    folders: Mapping[str, Sequence[str]], spoken_name: Callable[[str], str], most: int | None = None
) -> list[tuple[str, Sequence[str]]]:
    """Classes of class folders, with the first `most` images of each."""
    return [(spoken_name(name), [f"{name}/{file}" for file in files[:most]]) for name, files in folders.items()]
