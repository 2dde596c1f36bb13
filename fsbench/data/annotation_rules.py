"""Rules for people's annotation files, COCO's and LabelMe's alike: each is one function with one sentence.

They are about sizes that a file states, places of points, reserved labels, and objects that mark no pixel.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fsbench.base.files.images import MASK_PIXELS
from fsbench.data.dataset import VOID

RESERVED: Mapping[str, int] = {"_background_": 0, "__ignore__": VOID}
"""Labels that LabelMe reserves, and their values in a label map, as its own `labelme2voc` paints them."""
OUTSIDE, EMPTY = "outside the image", "an empty outline"


class LeftOut:
    """Objects of one annotation file that were left out, by class and reason."""

    def __init__(self) -> None:
        self._numbers: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, reason: str) -> None:
        """Count an object of class `name`."""
        self._numbers[name, reason] += 1

    @property
    def words(self) -> str:
        """How many of which class and why, such as "2 of cat (a box alone)"; "" if there are none."""
        return ", ".join(f"{number} of {name} ({reason})" for (name, reason), number in self._numbers.items())

    def note(self, path: Path) -> str:
        """Return a note for the user about the file `path`, or ""."""
        return (
            f"{path}: objects, or parts of one, that mark no pixel are left out: {self.words}" if self._numbers else ""
        )


def check_stated_size(name: str, height: object, width: object) -> tuple[int, int]:
    """Return the height and width that a file states of image `name`. Raises ValueError where no image has them."""
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
    """Raise ValueError for a point that lies farther outside its image than twice the image's longer side, or nowhere.

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
    """Return why an outline marks no pixel, or "".

    Args:
        points: corners (n, 2), as x and y.
        size: height and width of its image, if known.
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


def visible_classes(
    labels: np.ndarray, names: Mapping[int, str], left_out: LeftOut
) -> tuple[np.ndarray, dict[int, str], str]:
    """Give reserved labels their values, and leave out classes that others cover.

    Args:
        labels: (H, W) uint8, painted with the numbers of `names`.
        names: number -> label of what was painted.
        left_out: counts the classes of which no pixel is left.

    Returns:
        The label map, the classes that it shows, and a note about reserved labels, or "".
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
