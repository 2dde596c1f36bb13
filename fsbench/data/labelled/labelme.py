"""Read LabelMe's files, which X-AnyLabeling and ISAT write as well: one file a photo, with named shapes."""

import base64
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fsbench.base.errors import DataError
from fsbench.base.files.names import composed
from fsbench.data.annotation_rules import RESERVED, check_near, check_stated_size, outline_problem
from fsbench.data.file_rules import refusal
from fsbench.data.image_io import read_mask
from fsbench.data.labelled.outlines import LeftOut, Outlines, Region, left_out_notes
from fsbench.data.picture_file import UNDECODABLE, one_line

EXPECTED = "expected the JSON file that LabelMe writes: shapes, imagePath, imageHeight, imageWidth"
_FOUR_CORNERS = ("oriented_rectangle", "rotation", "quadrilateral")
"""LabelMe's turned rectangle, X-AnyLabeling's, and X-AnyLabeling's shape of any four corners."""
_KINDS = ("polygon", "rectangle", "circle", "mask", *_FOUR_CORNERS)
"""Shapes that are read; no program is known to write ellipses, and a cuboid is no region of the image."""


def read_labelme(content: dict[str, Any], file: Path, is_photo_named: bool = False) -> Outlines:
    """Read the shapes of a LabelMe file; if the user names the photo, what the file says of it does not count.

    Raises:
        DataError: `content` does not have the form of a LabelMe file.
    """
    left_out, regions = LeftOut(), list[Region]()
    try:
        stated = str(content.get("imagePath") or "")
        size = check_stated_size(stated, content["imageHeight"], content["imageWidth"])
        if not isinstance(content["shapes"], list):
            raise ValueError("its shapes are no list")
        for shape in content["shapes"]:
            label = shape.get("label") if isinstance(shape, dict) else None
            name = composed(label if isinstance(label, str) else str(label)[:40])
            try:
                regions.append(_region(name, shape, size))
            except ValueError as error:
                left_out[name, one_line(error)] += 1
            except UNDECODABLE:
                left_out[name, "a shape that cannot be read"] += 1
        names = tuple(dict.fromkeys(region.name for region in regions if region.name not in RESERVED))
        if len(names) > 254:
            raise ValueError("more than 254 labels")
    except UNDECODABLE as error:
        raise DataError(f"{file} cannot be used ({type(error).__name__}: {one_line(error)}); {EXPECTED}") from error
    notes = tuple(left_out_notes(file, left_out))
    if is_photo_named:
        return Outlines(file, tuple(regions), size, names, notes=notes)
    return Outlines(file, tuple(regions), size, names, stated, _picture(content, file), notes)


def _picture(content: dict[str, Any], file: Path) -> bytes:
    try:
        return base64.b64decode(re.sub(r"^data:[\w/+.-]*;base64,", "", content.get("imageData") or ""))
    except (TypeError, ValueError) as error:
        raise refusal("labelme_picture_unusable", file, file=file, reason=one_line(error)) from error


def _region(name: str, shape: dict[str, Any], size: tuple[int, int]) -> Region:
    kind = str(shape.get("shape_type") or "polygon")[:40]
    if kind not in _KINDS:
        raise ValueError(f'fsbench does not read the shape "{kind}"')
    if not isinstance(shape["label"], str) or not name.strip():
        raise ValueError("a label that is no name")
    if not all(isinstance(corner, list) and len(corner) == 2 for corner in shape["points"]):
        raise ValueError("points that are not all of two numbers, x and y")
    if not all(type(value) in (int, float) for corner in shape["points"] for value in corner):
        raise ValueError("points that are not all numbers")
    points = np.asarray(shape["points"], dtype=np.float64).reshape(-1, 2)
    check_near(points, np.array(size))
    if kind == "mask":
        return Region(name, mask=partial(_placed, *_small_mask(shape["mask"], points)))
    corners = _corners(kind, points)
    if problem := outline_problem(corners):
        raise ValueError(problem)
    return Region(name, mask=partial(_disc, corners)) if kind == "circle" else Region(name, (corners,))


def _corners(kind: str, points: np.ndarray) -> np.ndarray:
    if kind == "polygon" or (kind in (*_FOUR_CORNERS, "rectangle") and len(points) == 4):
        return points
    if kind == "rectangle" and len(points) >= 2:
        (left, top), (right, bottom) = points.min(0), points.max(0)
    elif kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        (left, top), (right, bottom) = points[0] - radius, points[0] + radius
    else:
        raise ValueError(f'the shape "{kind}" with {len(points)} points')
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _disc(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw a disc as LabelMe and X-AnyLabeling do for circles."""
    disc = Image.new("L", (width, height))
    ImageDraw.Draw(disc).ellipse([*corners[0], *corners[2]], fill=1, outline=1)
    return np.asarray(disc) == 1


def _small_mask(encoded: str, points: np.ndarray) -> tuple[np.ndarray, int, int]:
    try:
        small = read_mask(base64.b64decode(encoded), name="of a shape")[0] > 0
    except (DataError, *UNDECODABLE) as error:
        reason = one_line(error).partition(";")[0].removeprefix("mask of a shape ")
        raise ValueError(f"a mask that cannot be read: {reason}") from error
    if not small.any():
        raise ValueError("an empty mask")
    (left, top), (right, bottom) = points.min(0).round().astype(int).tolist(), points.max(0).round().astype(int)
    if len(points) > 1 and np.abs(np.subtract((bottom - top + 1, right - left + 1), small.shape)).max() > 1:
        raise ValueError("a mask of another size than its box")
    return small, left, top


def _placed(small: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    small = small[max(-top, 0) :, max(-left, 0) :]
    mask = np.zeros((height, width), dtype=bool)
    window = mask[max(top, 0) :, max(left, 0) :][: small.shape[0], : small.shape[1]]
    window[:] = small[: window.shape[0], : window.shape[1]]
    return mask
