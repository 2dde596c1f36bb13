"""Read LabelMe annotation files: paint their shapes as a label map."""

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files.images import open_image
from fsbench.base.files.names import composed
from fsbench.data.annotation_rules import LeftOut, check_near, check_stated_size, outline_problem, visible_classes
from fsbench.data.picture_file import UNDECODABLE, one_line

EXPECTED = "expected the JSON file that LabelMe writes: shapes, imagePath, imageHeight, imageWidth"
KINDS_WITHOUT_AREA = ("point", "points", "line", "linestrip")


def paint_labelme(content: dict[str, Any], path: Path) -> tuple[np.ndarray, dict[int, str], str]:
    """Paint the shapes of a LabelMe file.

    Every shape is filled including its boundary, later ones over earlier ones, with coordinates truncated toward zero.
    The label `_background_` paints background (a hole) and `__ignore__` void, as LabelMe's own `labelme2voc` does.

    Args:
        content: The parsed JSON.
        path: The file, for messages.

    Returns:
        The label map (H, W) uint8; class names by number, in order of appearance; and a note about reserved labels, and
        shapes that mark no pixel, which are left out (points, lines), or "".

    Raises:
        DataError: the content is not LabelMe's.
    """
    import cv2  # slow to import

    try:
        size = content["imageHeight"], content["imageWidth"]
        labels = np.zeros(check_stated_size(str(content.get("imagePath")), *size), dtype=np.uint8)
        numbers: dict[str, int] = {}
        left_out = LeftOut()
        for shape in content["shapes"]:
            kind = shape.get("shape_type") or "polygon"
            if kind in KINDS_WITHOUT_AREA:
                left_out.add(composed(str(shape.get("label"))), f"a {kind}")
                continue
            if not isinstance(shape["label"], str) or not shape["label"].strip():
                raise ValueError(f"a shape's label is {shape['label']!r}, not a name")
            name = composed(shape["label"])
            points = _points(shape["points"], labels.shape)
            if kind == "mask":
                mask = _mask(shape["mask"])
                problem = "" if mask.any() else "an empty mask"
            else:
                polygon = _polygon(kind, points)
                problem = outline_problem(polygon, labels.shape)
            if problem:
                left_out.add(name, problem)
                continue
            number = numbers.setdefault(name, len(numbers) + 1)
            if number > 254:
                raise ValueError("more than 254 labels")
            if kind == "mask":
                left, top = points.min(0).astype(int)
                mask = mask[max(-top, 0) :, max(-left, 0) :]  # without what lies above and left of the image
                window = labels[max(top, 0) :, max(left, 0) :][: mask.shape[0], : mask.shape[1]]
                window[mask[: window.shape[0], : window.shape[1]]] = number
            else:
                cv2.fillPoly(labels, [polygon.astype(np.int32)], number)
    except UNDECODABLE as error:
        raise DataError(f"{path} cannot be used ({type(error).__name__}: {one_line(error)}); {EXPECTED}") from error
    labels, classes, reserved = visible_classes(labels, {number: name for name, number in numbers.items()}, left_out)
    notes = (reserved and f"{path}: {reserved}", left_out.note(path))
    return labels, classes, "; ".join(filter(None, notes))


def _points(corners: Any, size: tuple[int, ...]) -> np.ndarray:
    """Return corners (n, 2), as x and y, of a shape on an image of `size` (H, W). Raises ValueError for corners that
    are not two numbers each, or farther outside than twice the image's longer side."""
    if not all(isinstance(corner, list) and len(corner) == 2 for corner in corners):
        raise ValueError("a shape's points are not all of two numbers, x and y")
    if not all(type(value) in (int, float) for corner in corners for value in corner):
        raise ValueError("a shape's points are not all numbers")
    points = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
    check_near(points, np.array(size))
    return points


def _polygon(kind: str, points: np.ndarray) -> np.ndarray:
    """Return the corners (n, 2), as x and y, of a polygon, rectangle or circle."""
    if kind == "polygon":
        return points
    if kind == "rectangle" and len(points) >= 2:
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    if kind == "circle" and len(points) == 2:
        center, radius = points[0], math.dist(*points)
        angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        return np.asarray(center + radius * np.stack([np.cos(angle), np.sin(angle)], 1))
    raise ValueError(f"a {kind} of {len(points)} points; a mask needs polygons, rectangles or circles")


def _mask(encoded: str) -> np.ndarray:
    """Decode the mask (h, w) bool of a shape, a small base64 PNG as LabelMe's automatic tools write it."""
    with open_image(base64.b64decode(encoded), "label map") as image:
        mask = np.asarray(image) > 0
    if mask.ndim != 2:
        raise ValueError("the picture of a mask is not black and white")
    return mask
