"""Read LabelMe annotation files, which X-AnyLabeling and ISAT write as well: paint their shapes as a label map."""

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fsbench.base.errors import DataError
from fsbench.base.files.names import composed
from fsbench.data.annotation_rules import (
    OUTSIDE,
    LeftOut,
    check_near,
    check_stated_size,
    outline_problem,
    visible_classes,
)
from fsbench.data.image_io import read_mask
from fsbench.data.painting import fill_outline
from fsbench.data.picture_file import UNDECODABLE, one_line

EXPECTED = "expected the JSON file that LabelMe writes: shapes, imagePath, imageHeight, imageWidth"
_FOUR_CORNERS = ("oriented_rectangle", "rotation", "quadrilateral")
"""LabelMe's turned rectangle, X-AnyLabeling's, and X-AnyLabeling's shape of any four corners."""
_KINDS = ("polygon", "rectangle", "circle", "mask", *_FOUR_CORNERS)
"""Shapes that are read; no program is known to write ellipses, and a cuboid is no region of the image."""


def paint_labelme(content: dict[str, Any], path: Path) -> tuple[np.ndarray, dict[int, str], list[str]]:
    """Paint the shapes of a LabelMe file into a label map.

    Later shapes are painted over earlier ones. Outlines are filled including their boundary, with coordinates truncated
    toward zero; a circle is the disc that LabelMe's own programs draw. The label `_background_` paints background (a
    hole) and `__ignore__` void, as LabelMe's own `labelme2voc` does.

    Args:
        content: The parsed JSON.
        path: The file, for messages.

    Returns:
        The label map (H, W) uint8 (0 background, 255 void, else a class number); {number: class name} in order of
        appearance; and notes on reserved labels, on shapes that are left out because they mark no pixel or cannot be
        read, and on corners outside the image.

    Raises:
        DataError: `content` does not have the form of a LabelMe file.
    """
    numbers: dict[str, int] = {}
    left_out = LeftOut()
    try:
        size = content["imageHeight"], content["imageWidth"]
        labels = np.zeros(check_stated_size(str(content.get("imagePath")), *size), dtype=np.uint8)
        if not isinstance(content["shapes"], list):
            raise ValueError("its shapes are no list")
        for shape in content["shapes"]:
            label = shape.get("label") if isinstance(shape, dict) else None
            name = composed(label if isinstance(label, str) else str(label)[:40])
            try:
                points, region = _region(shape, labels.shape)
            except ValueError as error:
                left_out.add(name, one_line(error))
                continue
            except UNDECODABLE:
                left_out.add(name, "a shape that cannot be read")
                continue
            left_out.add_outside(name, [points], labels.shape)
            number = numbers.setdefault(name, len(numbers) + 1)
            if number > 254:
                raise ValueError("more than 254 labels")
            if region.dtype == bool:
                labels[region] = number
            else:
                fill_outline(labels, region, number)
    except UNDECODABLE as error:
        raise DataError(f"{path} cannot be used ({type(error).__name__}: {one_line(error)}); {EXPECTED}") from error
    labels, classes, reserved = visible_classes(labels, {number: name for name, number in numbers.items()}, left_out)
    return labels, classes, [*([f"{path}: {reserved}"] if reserved else []), *left_out.notes(path)]


def _region(shape: dict[str, Any], size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (n, 2) of a shape, as x and y, and what it marks of an image of `size` (H, W).

    That is an outline to be filled, (n, 2), or a mask (H, W) bool. Raises one of `UNDECODABLE` for a shape that
    marks nothing or cannot be read; a ValueError says why.
    """
    kind = str(shape.get("shape_type") or "polygon")[:40]
    if kind not in _KINDS:
        raise ValueError(f'fsbench does not read the shape "{kind}"')
    if not isinstance(shape["label"], str) or not shape["label"].strip():
        raise ValueError("a label that is no name")
    points = _points(shape["points"], size)
    if kind == "mask":
        region = _mask(shape["mask"], points, size)
    else:
        corners = _corners(kind, points)
        if corners is None:
            raise ValueError(f'the shape "{kind}" with {len(points)} points')
        if problem := outline_problem(corners, size):
            raise ValueError(problem)
        region = _disc(corners, size) if kind == "circle" else corners
    if region.dtype == bool and not region.any():
        raise ValueError(OUTSIDE)
    return points, region


def _points(corners: Any, size: tuple[int, ...]) -> np.ndarray:
    """Return corners (n, 2), as x and y, of a shape on an image of `size` (H, W). Raises ValueError for corners that
    are not two numbers each, or farther outside than twice the image's longer side."""
    if not all(isinstance(corner, list) and len(corner) == 2 for corner in corners):
        raise ValueError("points that are not all of two numbers, x and y")
    if not all(type(value) in (int, float) for corner in corners for value in corner):
        raise ValueError("points that are not all numbers")
    points = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
    check_near(points, np.array(size))
    return points


def _corners(kind: str, points: np.ndarray) -> np.ndarray | None:
    """Return the corners (n, 2), as x and y, of a shape, or of the box around a circle; None for a wrong number of
    points."""
    if kind == "polygon" or (kind in (*_FOUR_CORNERS, "rectangle") and len(points) == 4):
        return points
    if kind == "rectangle" and len(points) >= 2:
        (left, top), (right, bottom) = points.min(0), points.max(0)
    elif kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        (left, top), (right, bottom) = points[0] - radius, points[0] + radius
    else:
        return None
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _disc(corners: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the disc (H, W) bool in a box, by the drawing function that LabelMe and X-AnyLabeling call for circles."""
    disc = Image.new("L", (size[1], size[0]))
    ImageDraw.Draw(disc).ellipse([*corners[0], *corners[2]], fill=1, outline=1)
    return np.asarray(disc) == 1


def _mask(encoded: str, points: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the pixels (H, W) bool of a mask, a small base64 PNG whose upper left corner is the first of `points`.

    LabelMe rounds that corner where it was moved by parts of a pixel.
    """
    try:
        small = read_mask(base64.b64decode(encoded), name="of a shape")[0] > 0
    except (DataError, *UNDECODABLE) as error:
        reason = one_line(error).partition(";")[0].removeprefix("mask of a shape ")
        raise ValueError(f"a mask that cannot be read: {reason}") from error
    if not small.any():
        raise ValueError("an empty mask")
    (left, top), (right, bottom) = points.min(0).round().astype(int), points.max(0).round().astype(int)
    if len(points) > 1 and np.abs(np.subtract((bottom - top + 1, right - left + 1), small.shape)).max() > 1:
        raise ValueError("a mask of another size than its box")
    small = small[max(-top, 0) :, max(-left, 0) :]  # without what lies above and left of the image
    mask = np.zeros(size, dtype=bool)
    window = mask[max(top, 0) :, max(left, 0) :][: small.shape[0], : small.shape[1]]
    window[:] = small[: window.shape[0], : window.shape[1]]
    return mask
