"""Reads a COCO `instances_*.json` into compact arrays.

Objects become small arrays while the file is parsed, so that the floats of a 330 MB file are never all in memory.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.data.annotation_rules import check_near, check_stated_size
from fsbench.data.coco_instances import CocoInstances

_FAR = 1 << 15
"""Vertices this far out are damage; nearer ones fit into int16."""
_UNUSABLE = (ValueError, TypeError, KeyError, OverflowError)
"""Errors that an entry of another form raises."""


@contextmanager
def annotation_errors(path: Path, expected: str) -> Iterator[None]:
    """Within the block, turn errors of reading the annotation file `path` into DataErrors that say what is expected.

    Args:
        path: the file, for messages.
        expected: what the file should hold, in words.

    Raises:
        DataError: the block raised an error: the file cannot be read or has other content.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"annotation file {path} cannot be read ({error.strerror}); check the file") from error
    except _UNUSABLE as error:
        raise DataError(f"annotation file {path} cannot be used: {error}; expected {expected}") from error


class AnnotatedImage(NamedTuple):
    """An image of an annotation file: its file name, its id, and its size in pixels."""

    file_name: str
    id: int
    height: int
    width: int


def compacting(read: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Return an `object_hook` for `json.loads` that replaces each valid COCO annotation `entry` by `read(entry)`.

    So the floats of one annotation are freed before the next is parsed. The hook does not know where in the file a JSON
    object stands: every object that looks like an annotation is replaced, and objects that `read` refuses stay
    unchanged. `content_lists` checks the annotation list afterwards.
    """

    def compact(entry: dict[str, Any]) -> Any:
        if "image_id" in entry and "segmentation" in entry:
            with suppress(*_UNUSABLE):
                return read(entry)
        return entry

    return compact


def content_lists(
    content: Any, read: Callable[[dict[str, Any]], Any]
) -> tuple[list[AnnotatedImage], list[Any], dict[int, str]]:
    """Return (images, annotations as `read` returns them, {category id: name}) of a parsed COCO file.

    Args:
        content: the parsed JSON, whether or not it was parsed with `compacting(read)`.
        read: function from an annotation to the values that are needed; raises ValueError for an unusable annotation.

    Raises:
        ValueError: a list is missing, an entry is unusable, or an image or a category is there twice.
    """
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, (dict, tuple)) for entry in entries):
            raise ValueError(f"it has no list of {key}")
    images = _entries(content, "images", _image)
    if len({image.id for image in images}) < len(images) or len({image.file_name for image in images}) < len(images):
        raise ValueError("two images have the same id or file name")
    categories = dict(_entries(content, "categories", _category))
    if len(categories) < len(content["categories"]):
        raise ValueError("two categories have the same id")
    annotations = _entries(content, "annotations", lambda entry: read(entry) if isinstance(entry, dict) else entry)
    return images, annotations, categories


def _entries(content: dict[str, Any], key: str, read: Callable[[Any], Any]) -> list[Any]:
    """Read the entries of a list of the file; a ValueError says which one lacks something."""
    found = []
    for place, entry in enumerate(content[key]):
        try:
            found.append(read(entry))
        except _LackingError as error:
            raise ValueError(f'{key}[{place}] has no "{error}"') from None
    return found


def _category(entry: dict[str, Any]) -> tuple[Any, str]:
    require(entry, ("id", "name"))
    return entry["id"], str(entry["name"])


def _image(entry: dict[str, Any]) -> AnnotatedImage:
    require(entry, ("file_name", "id", "height", "width"))
    name = entry["file_name"]
    if not isinstance(name, str):
        raise ValueError(f"file_name is {str(name)[:40]!r}, not text")
    return AnnotatedImage(name, whole(entry, "id"), *check_stated_size(name, entry["height"], entry["width"]))


def check_listed(
    annotation: str, image: int, images: Container[int], category: int, categories: Container[int]
) -> None:
    """Raise ValueError if a COCO file does not list the image or the category of an annotation.

    Args:
        annotation: words for the annotation, for the error message.
        image: id of the annotation's image.
        images: ids of the listed images.
        category: id of the annotation's category.
        categories: ids of the listed categories.
    """
    if image not in images:
        raise ValueError(f"{annotation} is on image {image}, which is not listed")
    if category not in categories:
        raise ValueError(f"{annotation} has the category id {category}, which is not listed")


def whole(entry: dict[str, Any], key: str) -> int:
    """Return `entry[key]`, a whole number of at most 64 bits.

    Raises:
        ValueError: the value is anything else.
    """
    value = entry[key]
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError(f"{key} is {str(value)[:40]!r}, not a whole number")
    return value


class _LackingError(ValueError):
    """An entry lacks a key, which is the message."""


def require(entry: dict[str, Any], keys: Iterable[str]) -> None:
    """Raise ValueError if an entry of a COCO file lacks one of `keys`; the message is the first missing key."""
    for key in keys:
        if key not in entry:
            raise _LackingError(key)


class _Object(NamedTuple):
    image_id: int
    id: int
    category_id: int
    polygons: list[np.ndarray]
    rle: dict[str, Any] | None


class _Crowd(NamedTuple):
    """A crowd region, which is not painted."""

    image_id: int
    category_id: int


def read_instances(path: Path, sha256: str, class_names: Sequence[str]) -> CocoInstances:
    """Read an official COCO annotation file whose categories, ascending by id, are `class_names`.

    Args:
        path: the annotation file.
        sha256: the file's checksum, which is kept in the result.
        class_names: names of class 1, 2, … in ascending category id.

    Raises:
        DataError: not a complete JSON file, not instance annotations, or entries that do not fit together.
    """
    with annotation_errors(path, "a complete instances file of COCO's form; put a sound copy there"):
        images, annotations, categories = content_lists(
            read_json(path, "annotations", object_hook=compacting(_annotation)), _annotation
        )
        crowds = [entry for entry in annotations if isinstance(entry, _Crowd)]
        objects = [entry for entry in annotations if isinstance(entry, _Object)]
        return _arrays(path, sha256, sorted(images), objects, crowds, _class_numbers(categories, class_names))


def _annotation(entry: dict[str, Any]) -> _Object | _Crowd:
    """Return what is needed of an annotation. Raises ValueError where it lacks something or has an unusable value."""
    require(entry, ("image_id", "id", "category_id", "segmentation"))
    image, category = whole(entry, "image_id"), whole(entry, "category_id")
    if entry.get("iscrowd", 0):
        return _Crowd(image, category)
    shape, number = entry["segmentation"], whole(entry, "id")
    if isinstance(shape, dict):
        return _Object(image, number, category, [], shape)
    polygons = [polygon_corners(polygon, number).astype(np.int16) for polygon in shape]
    return _Object(image, number, category, polygons, None)


def polygon_corners(polygon: Any, annotation: int) -> np.ndarray:
    """Return the corners (n, 2) of a polygon [x, y, x, y, …]; ValueError, which names the annotation, if it is none."""
    numbers = np.asarray(polygon)
    sound = numbers.dtype.kind in "iuf" and numbers.ndim == 1 and numbers.size and numbers.size % 2 == 0
    if not (sound and (np.abs(numbers) < _FAR).all()):
        raise ValueError(f"annotation {annotation} has a polygon that is not a list of x, y in pixels")
    return numbers.reshape(-1, 2)


def _class_numbers(categories: dict[int, str], class_names: Sequence[str]) -> dict[int, int]:
    """Category id -> class number."""
    names = [categories[key] for key in sorted(categories)]
    if names != list(class_names):
        strange = next((name for name in names if name not in class_names), None)
        found = f"{len(names)} categories" + (f", among them {strange!r}" if strange else "")
        raise ValueError(f"it has {found}, not the {len(class_names)} of COCO")
    return {key: number for number, key in enumerate(sorted(categories), start=1)}


def _arrays(
    path: Path,
    sha256: str,
    images: list[AnnotatedImage],
    objects: list[_Object],
    crowds: list[_Crowd],
    number_of: dict[int, int],
) -> CocoInstances:
    row_of_id = {image.id: row for row, image in enumerate(images)}
    for entry in objects:
        check_listed(f"annotation {entry.id}", entry.image_id, row_of_id, entry.category_id, number_of)
    objects = sorted(objects, key=lambda entry: (row_of_id[entry.image_id], entry.id))
    rows = np.array([row_of_id[entry.image_id] for entry in objects], dtype=np.int64)
    polygons = [polygon for entry in objects for polygon in entry.polygons]
    sizes = np.array([image[2:] for image in images], dtype=np.int32).reshape(-1, 2)
    vertices = np.concatenate([np.zeros((0, 2), dtype=np.int16), *polygons])
    lengths = [sum(map(len, entry.polygons)) for entry in objects]
    check_near(vertices, np.repeat(sizes[rows], lengths, axis=0))
    return CocoInstances(
        path=path,
        sha256=sha256,
        file_names=tuple(image.file_name for image in images),
        sizes=sizes,
        starts=_starts(np.bincount(rows, minlength=len(images))),
        classes=np.array([number_of[entry.category_id] for entry in objects], dtype=np.uint8),
        polygon_starts=_starts([len(entry.polygons) for entry in objects]),
        vertex_starts=_starts([len(polygon) for polygon in polygons]),
        vertices=vertices,
        crowds=_crowd_rows(crowds, row_of_id, number_of),
        rles={item: entry.rle for item, entry in enumerate(objects) if entry.rle is not None},
    )


def _crowd_rows(crowds: list[_Crowd], row_of_id: dict[int, int], number_of: dict[int, int]) -> np.ndarray:
    """Return (C, 2) image and class of every crowd, ascending; those on images that are not listed are left out."""
    known = [one for one in crowds if one.image_id in row_of_id and one.category_id in number_of]
    rows = sorted({(row_of_id[one.image_id], number_of[one.category_id]) for one in known})
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _starts(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
