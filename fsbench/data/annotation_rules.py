"""Rules for annotation files, COCO's and LabelMe's alike: stated sizes, places of points, outlines without pixels."""

from collections.abc import Mapping

import numpy as np

from fsbench.base.files.images import MASK_PIXELS
from fsbench.data.dataset import VOID

RESERVED: Mapping[str, int] = {"_background_": 0, "__ignore__": VOID}
"""Labels that LabelMe reserves, and their values in a label map, as its own `labelme2voc` paints them."""
OUTSIDE, EMPTY = "outside the image", "an empty outline"


def check_stated_size(name: str, height: object, width: object) -> tuple[int, int]:
    """Return the (height, width) that an annotation file states. Raises ValueError if no image can have them."""
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
    """Raise ValueError for a point (n, 2) farther outside its image than twice the longer side, or not finite.

    `sizes` is the height and width of their image (2,), or of the image of each (n, 2).
    """
    sizes = np.broadcast_to(sizes, points.shape)
    margin = 2 * sizes.max(1, keepdims=True)
    near = ((points >= -margin) & (points <= sizes[:, ::-1] + margin)).all(1)
    if not near.all():
        place = int(near.argmin())
        height, width = sizes[place].tolist()
        raise ValueError(f"the point {points[place].tolist()} is not near its image of {width}x{height} pixels")


def outline_problem(points: np.ndarray, size: tuple[int, ...] | None = None) -> str:
    """Return why an outline (n, 2), as x and y, marks no pixel of an image of this height and width; "" if it does."""
    if len(np.unique(points, axis=0)) < 3:
        return "fewer than three corners"
    if ((points >= 0) & (points <= 1)).all():
        return "corners from 0 to 1, which are shares of the image rather than pixels"
    if np.linalg.matrix_rank(points - points[0]) < 2:
        return "an outline without an area"
    if size is not None and ((points.max(0) <= -1) | (points.min(0) >= np.array([size[1], size[0]]))).any():
        return OUTSIDE
    return ""
