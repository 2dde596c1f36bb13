"""Strokes that mark an object on an image, as the page sends them.

Coordinates are pixels of the upright image, x to the right and y down; the middle of the first pixel is (0.5, 0.5).
"""

from typing import Annotated, Any, Literal, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fsbench.base.errors import DataError
from fsbench.base.files.validation import first_problem

MOST_POINTS = 20_000
"""Points of one stroke."""
MOST_CLICKS = 200
"""Clicks on one object."""
LARGEST_RADIUS = 1000.0
"""Radius of a brush, in pixels."""

Coordinate = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]  # beyond is no point near an image
Point = tuple[Coordinate, Coordinate]


class Click(NamedTuple):
    """A point of an image.

    Attributes:
        x, y: The point.
        adds: Whether the object is there; False where it is not.
    """

    x: Coordinate
    y: Coordinate
    adds: bool


class _Stroke(BaseModel):
    """A mark on an image.

    Attributes:
        image: The image's name.
        number: The class that is marked; 0 removes marks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str
    number: Annotated[int, Field(ge=0, le=254)]


class Brush(_Stroke):
    """A path painted with a round brush."""

    kind: Literal["brush"]
    radius: Annotated[float, Field(gt=0, le=LARGEST_RADIUS)]
    points: Annotated[list[Point], Field(min_length=1, max_length=MOST_POINTS)]


class Box(_Stroke):
    """A filled box, given by two opposite corners."""

    kind: Literal["box"]
    points: Annotated[list[Point], Field(min_length=2, max_length=2)]


class Clicks(_Stroke):
    """All clicks on one object, of which a promptable network makes a mask.

    Attributes:
        points: The clicks in their order.
        replaces: Revision of the image at which this object was marked after fewer clicks; None for a new object.
    """

    kind: Literal["clicks"]
    points: Annotated[list[Click], Field(min_length=1, max_length=MOST_CLICKS)]
    replaces: int | None = None


Stroke = Brush | Box | Clicks
_STROKE: TypeAdapter[Stroke] = TypeAdapter(Annotated[Stroke, Field(discriminator="kind")])


def parse_stroke(value: Any) -> Stroke:
    """Check what a page sent. Raises DataError for anything that is no stroke."""
    try:
        return _STROKE.validate_python(value)
    except ValidationError as error:
        raise DataError(f"the stroke cannot be used: {first_problem(error, value)}; reload the page") from None


def paint(labels: np.ndarray, stroke: Brush | Box) -> None:
    """Paint a stroke on a label map (H, W) uint8 in place."""
    corners = np.rint(stroke.points).astype(np.int32)  # the first pixel reaches from 0 to 1
    if isinstance(stroke, Box):
        (left, top), (right, bottom) = np.sort(np.clip(corners, 0, labels.shape[::-1]), axis=0)
        labels[top:bottom, left:right] = stroke.number
    else:
        pixels = np.floor(stroke.points).astype(np.int32)
        width = max(1, round(2 * stroke.radius))
        closed = len(pixels) == 1  # else nothing is drawn of a single point
        cv2.polylines(labels, [pixels[:, None]], isClosed=closed, color=stroke.number, thickness=width)
