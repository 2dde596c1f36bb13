"""List files of classification data sets in the form of FORT's authors (fort.md §2)."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath

from fsbench.base.errors import DataError
from fsbench.base.files import is_file, is_folder, read_json, write_text
from fsbench.data.dataset import ClassificationData, list_sha256

_KEYS = ("label_names", "image_names", "image_labels")


def read_list(path: Path, folder: Path) -> list[tuple[str, Sequence[str]]]:
    """Read a list file of a classification data set: (class name, image names) in the order of class numbers.

    Image names may be paths of another machine; the last parts of a path that exist below `folder` become the name.

    Raises:
        DataError: the file has another form or checksum than it states, or an image is not in `folder`.
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


def write_list(data: ClassificationData, path: Path) -> None:
    """Write a classification data set's classes and images as a list file in the authors' form, with its sha256."""
    content = {
        "label_names": list(data.class_names),
        "image_names": [name for images in data.images for name in images],
        "image_labels": [number for number, images in enumerate(data.images) for _ in images],
        "sha256": data.sha256,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content) + "\n")
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror}); choose another file") from error


def require_present(absent: Sequence[str], listed: int, folder: Path, source: Path) -> None:
    """Raise DataError, naming the first of the `absent` images, if there are any.

    Args:
        absent: names of the missing images.
        listed: number of listed images.
        folder: folder in which the images should be.
        source: the file that lists the images.
    """
    if absent:
        raise DataError(
            f"{len(absent)} of {listed} images of {source} are not in {folder} (first: {absent[0]}); expected all; "
            "complete the folder, or take them out of the list"
        )


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
        content = read_json(path, "annotations")
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
    """Return listed name -> name below `folder`, for images that exist."""
    local: dict[str, str] = {}
    has_folder = cache(is_folder)  # spares most of the look-ups of files
    for name in images:
        parts = PurePath(name).parts
        ends = (PurePath(*parts[start:]) for start in range(len(parts)))
        inside = (end for end in ends if not end.is_absolute() and ".." not in end.parts)
        for end in inside:
            if has_folder(folder / end.parent) and is_file(folder / end):
                local[name] = end.as_posix()
                break
    return local
