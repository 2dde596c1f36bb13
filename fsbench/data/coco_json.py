"""Reads a COCO `instances_*.json` into compact arrays.

Objects become small arrays while the file is parsed, so that the floats of a 330 MB file are never all in memory.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.data.annotation_rules import EMPTY, OUTSIDE, LeftOut, check_near, check_stated_size, outline_problem
from fsbench.data.coco_instances import Instances
from fsbench.data.rle import is_empty_rle

_FAR = 1 << 15
"""Vertices this far out are damage; nearer ones fit into int16."""


@contextmanager
def annotation_errors(path: Path, expected: str) -> Iterator[None]:
    """Turn what reading the annotation file `path` raises in the block into a DataError that says what is `expected`.

    Raises:
        DataError: the file cannot be read, or does not hold what it should.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"annotation file {path} cannot be read ({error.strerror}); check the file") from error
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataError(f"annotation file {path} cannot be used: {error}; expected {expected}") from error


class AnnotatedImage(NamedTuple):
    """An image of an annotation file: its file name, its id, and its size in pixels."""

    file_name: str
    id: int
    height: int
    width: int


def read_image_entry(entry: dict[str, Any]) -> AnnotatedImage:
    """Return the image that a file states. Raises ValueError where it lacks something or has an unusable value."""
    require(entry, ("id", "height", "width"), "image")
    name = entry["file_name"]
    if not isinstance(name, str):
        raise ValueError(f"file_name is {str(name)[:40]!r}, not text")
    return AnnotatedImage(name, whole(entry, "id"), *check_stated_size(name, entry["height"], entry["width"]))


def content_lists(content: Any) -> tuple[list[AnnotatedImage], list[Any], dict[int, str]]:
    """Return the images and the annotations of a parsed file, in its order, and its categories: id -> name.

    Raises ValueError where a list is missing or an image or a category is there twice.
    """
    for key, kind in {"images": AnnotatedImage, "annotations": object, "categories": dict}.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, kind) for entry in entries):
            raise ValueError(f"it has no list of {key}")
    images, annotations = content["images"], content.pop("annotations")
    if len({image.id for image in images}) < len(images) or len({image.file_name for image in images}) < len(images):
        raise ValueError("two images have the same id or file name")
    for category in content["categories"]:
        require(category, ("id", "name"), "category")
    categories = {category["id"]: str(category["name"]) for category in content["categories"]}
    if len(categories) < len(content["categories"]):
        raise ValueError("two categories have the same id")
    return images, annotations, categories


def check_listed(
    annotation: str, image: int, images: Container[int], category: int, categories: Container[int]
) -> None:
    """Raise ValueError unless the image and the category of an `annotation` are among those of its file."""
    if image not in images:
        raise ValueError(f"{annotation} is on image {image}, which is not listed")
    if category not in categories:
        raise ValueError(f"{annotation} has the category id {category}, which is not listed")


def whole(entry: dict[str, Any], key: str) -> int:
    """Return a value of 64 bits. Raises ValueError for anything but a whole number."""
    value = entry[key]
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError(f"{key} is {str(value)[:40]!r}, not a whole number")
    return value


def require(entry: dict[str, Any], keys: Iterable[str], kind: str) -> None:
    """Raise ValueError where an entry of a `kind` lacks one of `keys`."""
    for key in keys:
        if key not in entry:
            raise ValueError(f"an {kind} entry has no {key!r}")


class _Object(NamedTuple):
    image_id: int
    id: int
    category_id: int
    polygons: list[np.ndarray]
    rle: dict[str, Any] | None
    problems: tuple[str, ...] = ()
    """Why parts of the object mark no pixel; it is only looked at in people's own files."""


class _Crowd(NamedTuple):
    """A crowd region, which is not painted."""

    image_id: int
    category_id: int


def read_instances(path: Path, sha256: str, class_names: Sequence[str], left_out: LeftOut | None = None) -> Instances:
    """Read an annotation file; its categories, ascending by id, must be `class_names`.

    Args:
        path: The annotation file.
        sha256: Its checksum, kept in the result.
        class_names: Class 1, 2, … in ascending category id.
        left_out: Of a file of people's own: counts the objects that mark no pixel, such as boxes alone, which are left
            out, and crowd regions are objects. As a data set, COCO leaves crowds unpainted, and paints any outline.

    Raises:
        DataError: not a complete JSON file, not instance annotations, or entries that do not fit together.
    """
    with annotation_errors(path, "a complete instances file of COCO's form; put a sound copy there"):
        content = read_json(path, "annotations", object_hook=partial(_compact, is_own=left_out is not None))
        images, annotations, categories = content_lists(content)
        crowds = [entry for entry in annotations if isinstance(entry, _Crowd)]
        objects = [entry for entry in annotations if not isinstance(entry, _Crowd)]
        if not all(isinstance(entry, _Object) for entry in objects):
            raise ValueError("an annotation entry has no 'image_id'")
        number_of = _class_numbers(categories, class_names)
        if left_out is not None:
            objects = _with_pixels(objects, images, {key: class_names[n - 1] for key, n in number_of.items()}, left_out)
        return _arrays(path, sha256, sorted(images), objects, crowds, number_of)


def _compact(entry: dict[str, Any], is_own: bool) -> Any:
    """Called for every JSON object, innermost first; keeps of images and objects what is needed."""
    if "image_id" in entry:
        without_pixels = _kind_without_pixels(entry) if is_own else ""
        require(entry, ("id", "category_id", *["segmentation"] * (not without_pixels)), "annotation")
        if entry.get("iscrowd", 0) and not is_own:
            return _Crowd(whole(entry, "image_id"), whole(entry, "category_id"))
        shape = [] if without_pixels else entry["segmentation"]
        empty = 0
        if is_own and isinstance(shape, list):
            empty = shape.count([])
            shape = [polygon for polygon in shape if polygon != []]
        polygons = [] if isinstance(shape, dict) else [_vertices(polygon, entry["id"]) for polygon in shape]
        rle = shape if isinstance(shape, dict) else None
        problems: tuple[str, ...] = (without_pixels,) if without_pixels else ()
        if is_own and polygons:
            told = [outline_problem(np.asarray(polygon, np.float64).reshape(-1, 2)) for polygon in shape]
            polygons = [polygon for polygon, problem in zip(polygons, told, strict=True) if not problem]
            problems = (*[EMPTY] * empty, *filter(None, told))
        image, number, category = (whole(entry, key) for key in ("image_id", "id", "category_id"))
        return _Object(image, number, category, polygons, rle, problems)
    if "file_name" in entry:
        return read_image_entry(entry)
    return entry


def _kind_without_pixels(entry: dict[str, Any]) -> str:
    """Return what an annotation is that has no outline and no mask, or "" where it has one or is nothing known."""
    shape = entry.get("segmentation")
    if isinstance(shape, dict):
        return "an empty mask" if is_empty_rle(shape) else ""
    if shape is not None and (not isinstance(shape, list) or any(polygon != [] for polygon in shape)):
        return ""
    for key, kind in (("keypoints", "keypoints alone"), ("bbox", "a box alone")):
        if entry.get(key):
            return kind
    return "" if shape is None else EMPTY


def _with_pixels(
    objects: list[_Object], images: list[AnnotatedImage], class_names: dict[int, str], left_out: LeftOut
) -> list[_Object]:
    """Return the objects that mark pixels, without their parts that do not; the others are counted in `left_out`."""
    size_of = {image.id: image[2:] for image in images}
    kept = []
    for entry in objects:
        size, name = size_of.get(entry.image_id), class_names.get(entry.category_id)
        told = [outline_problem(polygon, size) == OUTSIDE for polygon in entry.polygons]
        inside = [polygon for polygon, is_outside in zip(entry.polygons, told, strict=True) if not is_outside]
        problems = [*entry.problems, *[OUTSIDE] * sum(told)]
        if inside or entry.rle is not None or name is None or size is None:  # which is refused later
            kept.append(entry._replace(polygons=inside))
            problems = [f"a part of one: {problem}" for problem in problems]
        if name is not None:
            for problem in dict.fromkeys(problems):
                left_out.add(name, problem)
    return kept


def _vertices(polygon: Any, annotation: int) -> np.ndarray:
    """[x, y, x, y, …] -> (n, 2) int16, truncated toward zero."""
    numbers = np.asarray(polygon)
    sound = numbers.dtype.kind in "iuf" and numbers.ndim == 1 and numbers.size and numbers.size % 2 == 0
    if not (sound and (np.abs(numbers) < _FAR).all()):
        raise ValueError(f"annotation {annotation} has a polygon that is not a list of x, y in pixels")
    return numbers.astype(np.int16).reshape(-1, 2)


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
) -> Instances:
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
    return Instances(
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
