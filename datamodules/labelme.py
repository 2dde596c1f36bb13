"""Polygons that people drew with LabelMe, painted as the label maps of COCO-20i are."""

import base64
import io
import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from fsbench.errors import DataError

EXPECTED = "expected the JSON file that LabelMe writes: shapes, imagePath, imageHeight, imageWidth"
WITHOUT_AREA = ("point", "points", "line", "linestrip")


def paint_labelme(content: dict[str, Any], path: Path) -> tuple[np.ndarray, dict[int, str], str]:
    """Label map (H, W) uint8, the classes of its numbers, which are the labels in order of appearance, and a remark
    where shapes without area (points, lines) were passed over.

    Every shape is filled with its boundary, later ones over earlier ones, points truncated toward zero. Raises
    DataError for files that do not fit together.
    """
    import cv2

    try:
        labels = np.zeros((int(content["imageHeight"]), int(content["imageWidth"])), dtype=np.uint8)
        numbers: dict[str, int] = {}
        passed: set[str] = set()
        for shape in content["shapes"]:
            kind = shape.get("shape_type") or "polygon"
            if kind in WITHOUT_AREA:
                passed.add(kind)
                continue
            number = numbers.setdefault(str(shape["label"]), len(numbers) + 1)
            if number > 254:
                raise ValueError("more than 254 labels")
            points = np.asarray(shape["points"], dtype=np.float64).reshape(-1, 2)
            if kind == "mask":
                _paste(labels, points, shape["mask"], number)
            else:
                cv2.fillPoly(labels, [_outline(kind, points).astype(np.int32)], number)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(f"{path} cannot be used ({type(error).__name__}: {error}); {EXPECTED}") from error
    note = f"{path}: shapes without area ({', '.join(sorted(passed))}) are passed over" if passed else ""
    return labels, {number: name for name, number in numbers.items()}, note


def _outline(kind: str, points: np.ndarray) -> np.ndarray:
    """The corners (n, 2), x and y, of a shape."""
    if kind == "polygon" and len(points) >= 3:
        return points
    if kind == "rectangle" and len(points) >= 2:
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    if kind == "circle" and len(points) == 2:
        centre, radius = points[0], math.dist(*points)
        angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        return np.asarray(centre + radius * np.stack([np.cos(angle), np.sin(angle)], 1))
    raise ValueError(f"a {kind} of {len(points)} points; a mask needs polygons, rectangles or circles")


def _paste(labels: np.ndarray, points: np.ndarray, encoded: str, number: int) -> None:
    """A shape that is a small picture at its box, as LabelMe's own automatic tools leave it."""
    left, top = points.min(0).astype(int)
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        inside = np.asarray(image) > 0
    part = labels[top : top + inside.shape[0], left : left + inside.shape[1]]
    part[inside[: part.shape[0], : part.shape[1]]] = number


def labelme_photo(content: dict[str, Any], path: Path, root: Path | None) -> Path:
    """The photo that the file is about: as it says, or of the same name beside it."""
    said = PurePosixPath(str(content.get("imagePath") or "").replace("\\", "/"))
    folder = root or path.parent
    for candidate in (folder / said, folder / said.name):
        if candidate.is_file():
            return candidate
    raise DataError(f"{path} is about the photo {said}, which is not in {folder}; put it there or give --support-root")
