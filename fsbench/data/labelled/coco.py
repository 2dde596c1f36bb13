"""Read COCO files of people's own: which program wrote them, which split they are of, and what they mark."""

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files.names import composed
from fsbench.data.annotation_rules import EMPTY, RESERVED, check_near, outline_problem
from fsbench.data.class_names import check_names
from fsbench.data.coco_json import annotation_errors, check_listed, content_lists, polygon_corners, require, whole
from fsbench.data.file_rules import refusal
from fsbench.data.labelled.outlines import LeftOut, Outlines, Region, left_out_notes
from fsbench.data.labelled.photos import part_word
from fsbench.data.rle import decode_rle, is_empty_rle, rle_extent

_LEAST_OVERLAP = 0.25
"""Intersection over union below which a box is another object's; one drawn twice too wide and high has it."""


class _Object(NamedTuple):
    image_id: int
    id: int
    category_id: int
    outlines: tuple[np.ndarray, ...]
    rle: dict[str, Any] | None
    bbox: Any
    problems: tuple[str, ...]


def other_form(content: dict[str, Any]) -> str:
    """Return the word for the form of a COCO file whose annotations are no instances, or more; "" for instances."""
    listed = content.get("annotations")
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if any("segments_info" in one for one in entries):
        return "panoptic"
    keys = ("caption", "keypoints")
    return next((key for key in keys if entries and all(key in one for one in entries)), "")


def read_coco(
    content: dict[str, Any], file: Path
) -> tuple[list[tuple[Outlines, str]], dict[str, int], set[str], list[str]]:
    """Read the objects of a COCO file: polygons, run lengths; crowd regions are objects.

    Returns:
        What is drawn on each image, with the word for its split or ""; {name: category id} of the classes with objects;
        names of the other categories; and notes.
    """
    info, left_out = content.get("info"), LeftOut()
    if other_form(content) == "panoptic":
        raise DataError(
            f"{file} is in COCO's panoptic form, whose masks are PNG files of their own; expected COCO's instances; "
            "convert it (panopticapi's converters/panoptic2detection_coco_format.py)"
        )
    with annotation_errors(file, "a complete instances file of COCO's form; put a sound copy there"):
        images, objects, categories = content_lists(content, _object)
        if None in (entry["name"] for entry in content["categories"]):
            raise ValueError("a category has no name")
        sizes = {image.id: (image.height, image.width) for image in images}
        for one in objects:
            check_listed(f"annotation {one.id}", one.image_id, sizes, one.category_id, categories)
        used = {key: composed(categories[key]) for key in sorted({one.category_id for one in objects})}
        check_names([*used.values()], f"the categories of {file}")
        names = tuple(name for name in used.values() if name not in RESERVED)
        if len(names) > 254:
            raise ValueError(f"it has {len(names)} categories, expected at most 254")
        regions: dict[int, list[Region]] = {image.id: [] for image in images}
        for one in sorted(objects, key=lambda one: one.id):
            name, part = used[one.category_id], "a part of one: " if one.outlines else ""
            left_out.update((name, part + problem) for problem in {*one.problems})
            if one.outlines or one.rle is not None:
                _check_box(one, sizes[one.image_id], f"annotation {one.id} of {file}, {name},")
                mask = None if one.rle is None else partial(decode_rle, one.rle)
                regions[one.image_id].append(Region(name, one.outlines, mask))
    is_per_cent = isinstance(info, dict) and "label studio" in str(info.get("contributor")).lower()
    found = []
    for image, entry in zip(images, content["images"], strict=True):
        folders = PurePosixPath(image.file_name.replace("\\", "/")).parts[:-1]
        own = tuple(regions[image.id])
        outlines = Outlines(
            file, own, sizes[image.id], names, image.file_name, is_per_cent=is_per_cent, may_be_upright=True
        )
        found.append((outlines, part_word((str(entry.get("split") or ""), *reversed(folders)))))
    ids = {name: key for key, name in used.items() if name in names}
    unused = {composed(name) for key, name in categories.items() if key not in used}
    return found, ids, unused, left_out_notes(file, left_out)


def _object(entry: dict[str, Any]) -> _Object:
    shape = entry.get("segmentation")
    has_other = shape is None and bool(entry.get("bbox") or entry.get("keypoints"))
    require(entry, ("image_id", "id", "category_id", *["segmentation"] * (not has_other)))
    image, number, category = (whole(entry, key) for key in ("image_id", "id", "category_id"))
    rle = shape if isinstance(shape, dict) and not is_empty_rle(shape) else None
    polygons: Any = [] if isinstance(shape, dict) or has_other else shape
    outlines, problems = [], []
    if rle is None and not polygons:
        problems.append("a box alone" if entry.get("bbox") and not isinstance(shape, dict) else EMPTY)
    for polygon in polygons:
        corners = polygon_corners(polygon, number) if polygon != [] else np.zeros((0, 2))
        problem = outline_problem(corners) if len(corners) else EMPTY
        problems += [problem] * bool(problem)
        outlines += [corners] * (not problem)
    return _Object(image, number, category, tuple(outlines), rle, entry.get("bbox"), tuple(problems))


def _check_box(one: _Object, size: tuple[int, int], subject: str) -> None:
    """Raise DataError where the box that an object states is that of another object, or of rows for columns."""
    if one.rle is not None:
        try:
            own = rle_extent(one.rle, *size)[0].astype(float)
        except (ValueError, TypeError) as error:
            raise ValueError(f"it has an unusable run-length mask ({error})") from error
    else:
        corners = np.concatenate(one.outlines)
        check_near(corners, np.array(size))
        own = np.array([*corners.min(0), *corners.max(0)], float)
    bbox = one.bbox if isinstance(one.bbox, list) and len(one.bbox) == 4 else []
    if not bbox or not all(type(value) in (int, float) for value in bbox):
        return
    x, y, width, height = bbox
    meant = np.array([x, y, x + width, y + height], float)
    if not (max(bbox) > 1 and (meant[2:] > meant[:2]).all()):
        return  # no box, or one in shares of the image
    if one.rle is not None and np.abs(meant - own).max() > 1:
        across = decode_rle({**one.rle, "size": [*size[::-1]]}, *size[::-1]).T
        rows, columns = (np.flatnonzero(across.any(axis)) for axis in (1, 0))
        if np.abs(meant - [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).max() <= 1:
            raise DataError(
                f"{subject} has run lengths along the rows, of which its bbox {bbox} is the box; expected runs "
                "down the columns, as COCO has them; encode the transposed mask (numpy: order='F')"
            )
    boxes = (own, own.clip(0, [*size[::-1]] * 2))  # some programs cut boxes at the border, some state two corners
    if max(_overlap(one, box) for one in (meant, np.array(bbox, float)) for box in boxes) < _LEAST_OVERLAP:
        left, top, right, bottom = own.astype(int).tolist()
        stated = f"bbox {bbox}"
        raise refusal("outline_contradicted", subject, stated=stated, left=left, top=top, right=right, bottom=bottom)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes (4,), each wider by a pixel all around."""
    one, other = one + np.array([-1, -1, 1, 1]), other + np.array([-1, -1, 1, 1])
    both = (np.minimum(one, other)[2:] - np.maximum(one, other)[:2]).clip(0).prod()
    return float(both / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - both))
