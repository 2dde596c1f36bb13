"""Reads a COCO `instances_*.json` into compact arrays.

Objects become small arrays while the file is parsed, so that the floats of a 330 MB file are never all in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.base.files.images import MASK_PIXELS
from fsbench.data.coco_instances import Instances
from fsbench.data.left_out import EMPTY, OUTSIDE, LeftOut, outline_problem
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


class _Image(NamedTuple):
    file_name: str
    id: int
    height: int
    width: int


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
        images, objects, crowds = _lists(content)
        number_of = _class_numbers(content["categories"], class_names)
        if left_out is not None:
            objects = _with_pixels(objects, images, {key: class_names[n - 1] for key, n in number_of.items()}, left_out)
        return _arrays(path, sha256, images, objects, crowds, number_of)


def _compact(entry: dict[str, Any], is_own: bool) -> Any:
    """Called for every JSON object, innermost first; keeps of images and objects what is needed."""
    if "image_id" in entry:
        without_pixels = _kind_without_pixels(entry) if is_own else ""
        _require(entry, ("id", "category_id", *["segmentation"] * (not without_pixels)), "annotation")
        if entry.get("iscrowd", 0) and not is_own:
            return _Crowd(_whole(entry, "image_id"), _whole(entry, "category_id"))
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
        image, number, category = (_whole(entry, key) for key in ("image_id", "id", "category_id"))
        return _Object(image, number, category, polygons, rle, problems)
    if "file_name" in entry:
        _require(entry, ("id", "height", "width"), "image")
        name, height, width = str(entry["file_name"]), _whole(entry, "height"), _whole(entry, "width")
        if min(height, width) < 1 or height * width > MASK_PIXELS:
            raise ValueError(
                f"the image {name!r} is stated to have {width}x{height} pixels, expected 1 to {MASK_PIXELS // 10**6} "
                "megapixels"
            )
        return _Image(name, _whole(entry, "id"), height, width)
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
    objects: list[_Object], images: list[_Image], class_names: dict[int, str], left_out: LeftOut
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


def _whole(entry: dict[str, Any], key: str) -> int:
    """Return a value of 64 bits. Raises ValueError for anything but a whole number."""
    value = entry[key]
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError(f"{key} is {str(value)[:40]!r}, not a whole number")
    return value


def _require(entry: dict[str, Any], keys: Iterable[str], kind: str) -> None:
    for key in keys:
        if key not in entry:
            raise ValueError(f"an {kind} entry has no {key!r}")


def _vertices(polygon: Any, annotation: int) -> np.ndarray:
    """[x, y, x, y, …] -> (n, 2) int16, truncated toward zero."""
    numbers = np.asarray(polygon)
    sound = numbers.dtype.kind in "iuf" and numbers.ndim == 1 and numbers.size and numbers.size % 2 == 0
    if not (sound and (np.abs(numbers) < _FAR).all()):
        raise ValueError(f"annotation {annotation} has a polygon that is not a list of x, y in pixels")
    return numbers.astype(np.int16).reshape(-1, 2)


def _lists(content: Any) -> tuple[list[_Image], list[_Object], list[_Crowd]]:
    """The images ascending by file name, the painted objects ascending by image and annotation id, and the crowds."""
    kinds = {"images": _Image, "annotations": object, "categories": dict}
    for key, kind in kinds.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, kind) for entry in entries):
            raise ValueError(f"it has no list of {key}")
    annotations = content.pop("annotations")
    crowds = [entry for entry in annotations if isinstance(entry, _Crowd)]
    objects = [entry for entry in annotations if not isinstance(entry, _Crowd)]
    if not all(isinstance(entry, _Object) for entry in objects):
        raise ValueError("an annotation entry has no 'image_id'")
    return sorted(content["images"]), sorted(objects, key=lambda entry: entry[:2]), crowds


def _class_numbers(categories: list[dict[str, Any]], class_names: Sequence[str]) -> dict[int, int]:
    """Category id -> class number."""
    for category in categories:
        _require(category, ("id", "name"), "category")
    ordered = sorted(categories, key=lambda category: category["id"])
    names = [str(category["name"]) for category in ordered]
    if names != list(class_names):
        strange = next((name for name in names if name not in class_names), None)
        found = f"{len(names)} categories" + (f", among them {strange!r}" if strange else "")
        raise ValueError(f"it has {found}, not the {len(class_names)} of COCO")
    numbers = {category["id"]: number for number, category in enumerate(ordered, start=1)}
    if len(numbers) < len(ordered):
        raise ValueError("two categories have the same id")
    return numbers


def _arrays(
    path: Path,
    sha256: str,
    images: list[_Image],
    objects: list[_Object],
    crowds: list[_Crowd],
    number_of: dict[int, int],
) -> Instances:
    row_of_id = {image.id: row for row, image in enumerate(images)}
    names = tuple(image.file_name for image in images)
    if len(row_of_id) < len(images) or len(set(names)) < len(images):
        raise ValueError("two images have the same id or file name")
    for entry in objects:
        if entry.image_id not in row_of_id:
            raise ValueError(f"annotation {entry.id} is on image {entry.image_id}, which is not listed")
        if entry.category_id not in number_of:
            raise ValueError(f"annotation {entry.id} has the category id {entry.category_id}, which is not listed")
    rows = np.array([row_of_id[entry.image_id] for entry in objects], dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    objects = [objects[item] for item in order]
    polygons = [polygon for entry in objects for polygon in entry.polygons]
    sizes = np.array([image[2:] for image in images], dtype=np.int32).reshape(-1, 2)
    vertices = np.concatenate([np.zeros((0, 2), dtype=np.int16), *polygons])
    lengths = [sum(map(len, entry.polygons)) for entry in objects]
    _check_near(vertices, np.repeat(sizes[rows[order]], lengths, axis=0))
    return Instances(
        path=path,
        sha256=sha256,
        file_names=names,
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


def _check_near(vertices: np.ndarray, sizes: np.ndarray) -> None:
    """Raise ValueError for a vertex (x, y) farther outside its image (height, width) than twice its longer side."""
    margin = 2 * sizes.max(1, keepdims=True)
    far = ((vertices < -margin) | (vertices > sizes[:, ::-1] + margin)).any(1)
    if far.any():
        place = int(far.argmax())
        height, width = sizes[place].tolist()
        raise ValueError(f"the vertex {vertices[place].tolist()} is not near its image of {width}x{height} pixels")


def _starts(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
