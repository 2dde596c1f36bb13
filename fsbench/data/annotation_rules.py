"""Rules for people's annotation files, COCO's and LabelMe's alike: each is one function with one sentence.

They are about sizes that a file states, places of points, reserved labels, and objects that mark no pixel.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np

from fsbench.base.files.images import MASK_PIXELS
from fsbench.data.dataset import VOID
from fsbench.data.file_rules import remark

RESERVED: Mapping[str, int] = {"_background_": 0, "__ignore__": VOID}
"""Labels that LabelMe reserves, and their values in a label map, as its own `labelme2voc` paints them."""
OUTSIDE, EMPTY = "outside the image", "an empty outline"
_NEAR_BORDER = 2
"""Pixels that a corner may lie outside of its image, as rounding and unsteady hands leave it."""
_LEAST_OVERLAP = 0.25
"""Intersection over union below which a box is another object's; one drawn twice too wide and high has it."""
_MOST_TIMES = 4
"""How many times too large or too small an area may be: holes, and parts that others cover, count or not."""


class LeftOut:
    """Counts, by class and reason, objects of an annotation file that were left out or cut at the image border."""

    def __init__(self) -> None:
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._outside: dict[str, list[_Outside]] = {}

    def add(self, name: str, reason: str) -> None:
        """Count an object of class `name` that was left out, with the reason in words."""
        self._numbers[name, reason] += 1

    def add_outside(self, name: str, parts: Sequence[np.ndarray], size: tuple[int, ...]) -> None:
        """Count an object of class `name` if it has corners outside its image.

        Args:
            name: the name of the class.
            parts: corners (n, 2) of its outlines, as x and y.
            size: height and width of the image.
        """
        corners = np.concatenate([np.zeros((0, 2)), *parts])
        beyond = np.maximum(-corners, corners - size[::-1]).max(1)
        if (outside := beyond > _NEAR_BORDER).any():
            found = _Outside(int(beyond.max()), int(outside.sum()), len(corners), size)
            self._outside.setdefault(name, []).append(found)

    def notes(self, path: Path) -> list[str]:
        """Return sentences that tell the user which objects of the file `path` were left out or cut at the border."""
        words = ", ".join(f"{number} of {name} ({reason})" for (name, reason), number in self._numbers.items())
        notes = [remark("objects_left_out", f"{path}:", objects=words)] if words else []
        for name, found in self._outside.items():
            told = {"outside": sum(one.outside for one in found), "corners": sum(one.corners for one in found)}
            most, _, _, (height, width) = max(found)
            subject = f"{path}: {len(found)} of {name}:"
            notes.append(remark("corners_outside", subject, **told, most=most, width=width, height=height))
        return notes


class _Outside(NamedTuple):
    """An object with corners outside: how far in pixels, their number, that of all its corners, size of its image."""

    most: int
    outside: int
    corners: int
    size: tuple[int, ...]


def check_stated_size(name: str, height: object, width: object) -> tuple[int, int]:
    """Return the (height, width) that an annotation file states for image `name`.

    Raises:
        ValueError: height or width is not a whole number above 0, or the image would have too many pixels.
    """
    for key, value in (("height", height), ("width", width)):
        if type(value) is not int:
            raise ValueError(f"the {key} of the image {name!r} is {str(value)[:40]!r}, not a whole number")
    assert isinstance(height, int) and isinstance(width, int)
    if min(height, width) < 1 or height * width > MASK_PIXELS:
        raise ValueError(
            f"the image {name!r} is stated to have {width}x{height} pixels, expected 1 to {MASK_PIXELS // 10**6} "
            "megapixels"
        )
    return height, width


def check_near(points: np.ndarray, sizes: np.ndarray) -> None:
    """Raise ValueError for a point farther outside its image than twice the longer side, or not finite.

    Args:
        points: (n, 2), as x and y.
        sizes: height and width of their image (2,), or of the image of each (n, 2).
    """
    sizes = np.broadcast_to(sizes, points.shape)
    margin = 2 * sizes.max(1, keepdims=True)
    near = ((points >= -margin) & (points <= sizes[:, ::-1] + margin)).all(1)
    if not near.all():
        place = int(near.argmin())
        height, width = sizes[place].tolist()
        raise ValueError(f"the point {points[place].tolist()} is not near its image of {width}x{height} pixels")


def outline_problem(points: np.ndarray, size: tuple[int, ...] | None = None) -> str:
    """Return why an outline marks no pixel, in words; "" if it marks some.

    Args:
        points: corners (n, 2), as x and y.
        size: height and width of the outline's image; None if unknown.
    """
    if len(np.unique(points, axis=0)) < 3:
        return "fewer than three corners"
    if ((points >= 0) & (points <= 1)).all():
        return "corners from 0 to 1, which are shares of the image rather than pixels"
    if np.linalg.matrix_rank(points - points[0]) < 2:
        return "an outline without an area"
    if size is not None and ((points.max(0) <= -1) | (points.min(0) >= np.array([size[1], size[0]]))).any():
        return OUTSIDE
    return ""


def contradiction(boxes: np.ndarray, least: float, bbox: object, area: object) -> str:
    """Return the stated box or area that grossly contradicts an object's outline, such as "area 9000"; "" if none does.

    The check is lenient, so that no sound file is refused. A stated box may have its size or two corners, be given in
    shares of the image, be drawn by hand, be cut at the border, or surround one part only. A stated area may be that of
    the outline, the mask or a box. Values of another form, and 0, are ignored.

    Args:
        boxes: (n, 4) as left, top, right and bottom: the outline's box first, then other boxes that the file may mean.
        least: the smallest area in pixels that the object can have; 0 if unknown.
        bbox: the box as the file states it.
        area: the area as the file states it.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    least, most = least - sides[0].sum(), (sides + 2).prod(1).max()  # corners are whole pixels here
    if isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox)) and max(bbox) > 1:
        x, y, width, height = map(float, bbox)
        meant = np.array([[x, y, x + width, y + height], [x, y, width, height]])
        meant = meant[(meant[:, 2:] > meant[:, :2]).all(1)]
        if len(meant) and _overlaps(meant, boxes).max() < _LEAST_OVERLAP:
            return f"bbox {bbox}"
        most = max(most, width * height)
    if _is_number(area) and area > 1 and not least / _MOST_TIMES <= area <= _MOST_TIMES * most:
        return f"area {area}"
    return ""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return intersection over union of all boxes (n, 4) with all boxes (m, 4), each wider by a pixel on every side."""
    one, other = first[:, None] + [-1, -1, 1, 1], second[None] + [-1, -1, 1, 1]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    both = sides.clip(0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (one, other)]
    return np.asarray(both / (areas[0] + areas[1] - both))


def polygon_area(corners: np.ndarray) -> float:
    """Return the area in pixels of a polygon (n, 2).

    >>> polygon_area(np.array([[0, 0], [4, 0], [4, 3]]))
    6.0
    """
    x, y = corners.T.astype(np.float64)
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def visible_classes(
    labels: np.ndarray, names: Mapping[int, str], left_out: LeftOut
) -> tuple[np.ndarray, dict[int, str], str]:
    """Replace LabelMe's reserved labels by background or void, and drop classes of which no pixel is left.

    Args:
        labels: label map (H, W) uint8 of numbers that are keys of `names`.
        names: {number: label of the shapes painted with it}.
        left_out: counts the classes that other shapes cover completely.

    Returns:
        The label map, {number: class name} of the classes that it shows, and a note about reserved labels, or "".
    """
    values = np.arange(256, dtype=np.uint8)
    reserved = {number: name for number, name in names.items() if name in RESERVED}
    for number, name in reserved.items():
        values[number] = RESERVED[name]
    shown = set(np.unique(labels).tolist())
    classes = {number: name for number, name in names.items() if number not in reserved}
    for number, name in classes.items():
        if number not in shown:
            left_out.add(name, "covered by others")
    painted = {RESERVED[name]: name for name in reserved.values()}
    words = [f"{name} is {'background' if value == 0 else 'void'}" for value, name in sorted(painted.items())]
    return values[labels], {n: name for n, name in classes.items() if n in shown}, " and ".join(words)
