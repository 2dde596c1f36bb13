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
from fsbench.data.labelled.classes import first
from fsbench.data.labelled.outlines import LeftOut, Outlines, Region
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
    problems: tuple[str, ...] = ()


def read_coco(content: dict[str, Any], file: Path) -> tuple[list[tuple[Outlines, str]], list[str], list[str]]:
    """Read the objects of a COCO file: polygons, run lengths; crowd regions are objects.

    Args:
        content: the parsed JSON.
        file: the file, for messages.

    Returns:
        What is drawn on each image, with the word for its split or ""; names of the classes with objects, in ascending
        category id; and notes.

    Raises:
        DataError: it has not the form of COCO's instances, or entries do not fit together.
    """
    listed = content.get("annotations")
    if isinstance(listed, list) and any(isinstance(one, dict) and "segments_info" in one for one in listed):
        raise DataError(
            f"{file} is in COCO's panoptic form, whose masks are in PNG files of their own; expected COCO's instances; "
            "convert it (panopticapi's converters/panoptic2detection_coco_format.py)"
        )
    left_out = LeftOut()
    with annotation_errors(file, "a complete instances file of COCO's form; put a sound copy there"):
        images, objects, categories = content_lists(content, _object)
        splits = [str(entry.get("split") or "") for entry in content["images"]]
        if None in (entry["name"] for entry in content["categories"]):
            raise ValueError("a category has no name")
        known = {image.id for image in images}
        for one in objects:
            check_listed(f"annotation {one.id}", one.image_id, known, one.category_id, categories)
        used = {one.category_id for one in objects}
        ordered = {key: composed(categories[key]) for key in sorted(used)}
        names = tuple(name for name in dict.fromkeys(ordered.values()) if name not in RESERVED)
        if len(names) > 254:
            raise ValueError(f"it has {len(names)} categories, expected at most 254")
        check_names(list(ordered.values()), f"the categories of {file}")
        info = content.get("info")
        is_per_cent = isinstance(info, dict) and "label studio" in str(info.get("contributor")).lower()
        regions: dict[int, list[Region]] = {image.id: [] for image in images}
        sizes = {image.id: (image.file_name, image.height, image.width) for image in images}
        for one in sorted(objects, key=lambda one: one.id):
            name, (stated, *size) = ordered[one.category_id], sizes[one.image_id]
            part = "a part of one: " if one.outlines else ""
            for problem in dict.fromkeys(one.problems):
                left_out.add(name, part + problem)
            if one.outlines or one.rle is not None:
                _check_box(one, stated, (size[0], size[1]), f"annotation {one.id} of {file}, {name},")
                mask = None if one.rle is None else partial(decode_rle, one.rle)
                regions[one.image_id].append(Region(name, one.outlines, mask))
    found = [
        (
            Outlines(
                file, tuple(regions[image.id]), (image.height, image.width), names, image.file_name,
                is_per_cent=is_per_cent, may_be_upright=True,
            ),
            part_word((split, *reversed(PurePosixPath(image.file_name.replace("\\", "/")).parts[:-1]))),
        )
        for image, split in zip(images, splits, strict=True)
    ]  # fmt: skip
    notes = left_out.notes(file)
    if unused := [str(name) for key, name in categories.items() if key not in used]:
        notes.append(f"{file}: categories without an object are no classes: {first(unused)}")
    return found, [*names], notes


def _object(entry: dict[str, Any]) -> _Object:
    """Return an annotation. Raises ValueError where it lacks something or has an unusable value."""
    without_pixels = _kind_without_pixels(entry)
    require(entry, ("image_id", "id", "category_id", *["segmentation"] * (not without_pixels)))
    image, number, category = (whole(entry, key) for key in ("image_id", "id", "category_id"))
    shape = [] if without_pixels else entry["segmentation"]
    rle, polygons = (shape, []) if isinstance(shape, dict) else (None, shape)
    outlines, problems = [], [without_pixels] * bool(without_pixels)
    for polygon in polygons:
        corners = polygon_corners(polygon, number) if polygon != [] else np.zeros((0, 2))
        problem = outline_problem(corners) if len(corners) else EMPTY
        problems += [problem] * bool(problem)
        outlines += [corners] * (not problem)
    return _Object(image, number, category, tuple(outlines), rle, entry.get("bbox"), tuple(problems))


def _kind_without_pixels(entry: dict[str, Any]) -> str:
    """Return what an annotation is that has no outline and no mask, or "" if it has one or is nothing known."""
    shape = entry.get("segmentation")
    if isinstance(shape, dict):
        return "an empty mask" if is_empty_rle(shape) else ""
    if shape is not None and (not isinstance(shape, list) or any(polygon != [] for polygon in shape)):
        return ""
    for key, kind in (("keypoints", "keypoints alone"), ("bbox", "a box alone")):
        if entry.get(key):
            return kind
    return "" if shape is None else EMPTY


def _check_box(one: _Object, stated: str, size: tuple[int, int], subject: str) -> None:
    """Raise DataError where the box that an object states is that of another object, or of rows for columns.

    A stated box may have its size or two corners, be drawn by hand, be cut at the border, or surround one part only.
    """
    bbox = one.bbox
    if one.rle is not None:
        try:
            boxes = np.array([rle_extent(one.rle, *size)[0]], np.float64)
        except (ValueError, TypeError) as error:
            raise ValueError(f"it has an unusable run-length mask on {stated} ({error})") from error
    else:
        check_near(np.concatenate(one.outlines), np.array(size))
        outer = np.concatenate(one.outlines)
        boxes = np.array([[*part.min(0), *part.max(0)] for part in (outer, *one.outlines)], np.float64)
    boxes = np.concatenate([boxes, boxes[:1].clip(0, [*size[::-1]] * 2)])
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox)) and max(bbox) > 1):
        return
    x, y, width, height = map(float, bbox)
    meant = np.array([[x, y, x + width, y + height], [x, y, width, height]])
    meant = meant[(meant[:, 2:] > meant[:, :2]).all(1)]
    if len(meant) == 0:
        return
    if one.rle is not None and np.abs(meant[0] - boxes[0]).max() > 1:
        across = decode_rle({**one.rle, "size": [*size[::-1]]}, *size[::-1]).T
        rows, columns = (np.flatnonzero(across.any(axis)) for axis in (1, 0))
        if np.abs(meant[0] - [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).max() <= 1:
            raise DataError(
                f"{subject} has run lengths along the rows, of which its bbox {bbox} is the box; expected runs down "
                "the columns, as COCO has them; encode the transposed mask (numpy: order='F')"
            )
    if _overlaps(meant, boxes) < _LEAST_OVERLAP:
        left, top, right, bottom = boxes[0].astype(int).tolist()
        raise refusal(
            "outline_contradicted", subject, stated=f"bbox {bbox}", left=left, top=top, right=right, bottom=bottom
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _overlaps(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest intersection over union of boxes (n, 4) and boxes (m, 4), each wider by a pixel all around."""
    one, other = first[:, None] + [-1, -1, 1, 1], second[None] + [-1, -1, 1, 1]
    both = (np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])).clip(0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (one, other)]
    return float((both / (areas[0] + areas[1] - both)).max())
