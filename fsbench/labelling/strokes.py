"""Steps that change an image's labels, each as it stands in the image's journal.

Coordinates are pixels of the upright image, x to the right and y down; the middle of the first pixel is (0.5, 0.5).
A shape covers the pixels whose middles lie in it.
"""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fsbench.data.rle import decode_rle, rle_pixels
from fsbench.errors import DataError
from fsbench.files.validation import first_problem
from fsbench.labelling.regions import RunLengths

MOST_POINTS = 20_000
"""Points of one stroke."""
LARGEST_RADIUS = 1000.0
"""Radius of a brush, in pixels."""
FARTHEST = 1e5
"""Coordinates beyond this are no points near an image."""

Coordinate = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]
Point = tuple[Coordinate, Coordinate]
ClassNumber = Annotated[int, Field(ge=0, le=254)]
"""0 removes labels."""


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Brush(_Step):
    """A path painted with a round brush."""

    kind: Literal["brush"]
    number: ClassNumber
    radius: Annotated[float, Field(gt=0, le=LARGEST_RADIUS)]
    points: Annotated[list[Point], Field(min_length=1, max_length=MOST_POINTS)]


class Polygon(_Step):
    """A filled polygon; where it crosses itself, the even-odd rule holds."""

    kind: Literal["polygon"]
    number: ClassNumber
    points: Annotated[list[Point], Field(min_length=3, max_length=MOST_POINTS)]


class Box(_Step):
    """A filled box, given by two opposite corners."""

    kind: Literal["box"]
    number: ClassNumber
    points: Annotated[list[Point], Field(min_length=2, max_length=2)]


class Mask(_Step):
    """A region given by its pixels, such as a network makes of clicks.

    Attributes:
        size: Height and width of the image.
        counts: COCO's compressed run lengths of the region.
    """

    kind: Literal["mask"]
    number: Annotated[int, Field(ge=1, le=254)]
    size: tuple[int, int]
    counts: str

    def check(self, size: tuple[int, ...]) -> None:
        """Raise ValueError, with the words of `pixels`, unless the region is of an image of `size` (H, W).

        It is not decoded for that.
        """
        if self.size != size:
            raise ValueError(f"its size is {list(self.size)}")
        if not self.counts:
            raise ValueError("it has no runs")
        rle_pixels(self.counts, *self.size)

    def pixels(self, size: tuple[int, ...]) -> np.ndarray:
        """Return the region in an image of `size` as (H, W) bool. Raises ValueError where it is of another image."""
        return decode_rle({"size": list(self.size), "counts": self.counts}, *size)


class Clear(_Step):
    """Removal of all labels."""

    kind: Literal["clear"]


class Undo(_Step):
    """The last step that holds is taken back."""

    kind: Literal["undo"]


class Redo(_Step):
    """The step that was taken back last holds again."""

    kind: Literal["redo"]


class StoredForecast(_Step):
    """A method's prediction of an image, made without this image's labels.

    Attributes:
        method: The method's name.
        supports: Number of support images that it had.
        numbers: Classes that it looked for.
        size: Height and width of the label map.
        counts: Its run lengths by class, see `RunLengths`.
    """

    method: str
    supports: int
    numbers: list[ClassNumber]
    size: tuple[int, int]
    counts: dict[ClassNumber, str]

    def check(self, size: tuple[int, ...]) -> None:
        """Raise ValueError unless the label map is of an image of `size` (H, W). It is not decoded for that."""
        if self.size != size:
            raise ValueError(f"its size is {list(self.size)}")
        for counts in self.counts.values():
            rle_pixels(counts, *self.size)

    def label_map(self) -> np.ndarray:
        """Return the predicted label map (H, W) uint8."""
        return RunLengths(self.size, self.counts).decode()


class Accept(_Step):
    """The labels are replaced by a method's prediction."""

    kind: Literal["accept"]
    forecast: StoredForecast


class Done(_Step):
    """The image is labelled.

    Attributes:
        time: Seconds since 1970; the image labelled last is the first support.
        forecast: The prediction that the labels are compared with, where there was one.
    """

    kind: Literal["done"]
    time: Annotated[float, Field(allow_inf_nan=False)]
    forecast: StoredForecast | None = None


Drawing = Brush | Polygon | Box | Mask | Clear | Undo | Redo
"""Steps that the page may ask for as they are."""
Step = Drawing | Accept | Done

_DRAWING: TypeAdapter[Drawing] = TypeAdapter(Annotated[Drawing, Field(discriminator="kind")])
_STEP: TypeAdapter[Step] = TypeAdapter(Annotated[Step, Field(discriminator="kind")])


def parse_drawing(value: Any) -> Drawing:
    """Check what a page sent. Raises DataError for anything that is no step of `Drawing`."""
    try:
        return _DRAWING.validate_python(value)
    except ValidationError as error:
        raise DataError(f"the stroke cannot be used: {first_problem(error, value)}; reload the page") from None


def parse_step(value: Any) -> Step | None:
    """Return the step of a journal's line; None for a line that a crash cut off or that is of another version."""
    try:
        return _STEP.validate_python(value)
    except ValidationError:
        return None


def paint(labels: np.ndarray, step: Step) -> None:
    """Apply a step to a label map (H, W) uint8 in place; Undo, Redo and Done change no pixel."""
    if isinstance(step, Brush):
        _paint_path(labels, np.asarray(step.points, dtype=np.float64), step.radius, step.number)
    elif isinstance(step, Polygon):
        labels[polygon_mask(np.asarray(step.points, dtype=np.float64), labels.shape)] = step.number
    elif isinstance(step, Box):
        (left, top), (right, bottom) = np.sort(np.asarray(step.points, dtype=np.float64), axis=0)
        rows = slice(*np.ceil(np.clip([top - 0.5, bottom - 0.5], 0, labels.shape[0])).astype(int))
        columns = slice(*np.ceil(np.clip([left - 0.5, right - 0.5], 0, labels.shape[1])).astype(int))
        labels[rows, columns] = step.number
    elif isinstance(step, Mask):
        labels[step.pixels(labels.shape)] = step.number
    elif isinstance(step, Clear):
        labels[:] = 0
    elif isinstance(step, Accept):
        labels[:] = step.forecast.label_map()


def _paint_path(labels: np.ndarray, points: np.ndarray, radius: float, number: int) -> None:
    """Label the pixels whose middles are at most `radius` away from the path through points (n, 2)."""
    ends = points[1:] if len(points) > 1 else points
    for start, end in zip(points, ends, strict=False):
        low, high = np.minimum(start, end) - radius, np.maximum(start, end) + radius
        left, top = np.clip(np.floor(low), 0, labels.shape[::-1]).astype(int)
        right, bottom = np.clip(np.ceil(high), 0, labels.shape[::-1]).astype(int)
        x, y = np.arange(left, right) + 0.5 - start[0], np.arange(top, bottom)[:, None] + 0.5 - start[1]
        (dx, dy), length = end - start, float(((end - start) ** 2).sum())
        along = np.clip((x * dx + y * dy) / length, 0, 1) if length else 0.0
        near = (x - along * dx) ** 2 + (y - along * dy) ** 2 <= radius**2
        labels[top:bottom, left:right][near] = number


def polygon_mask(points: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the pixels (H, W) bool whose middles lie in the polygon of points (n, 2), x and y, by the even-odd rule.

    Every edge toggles, in each row that it crosses, all pixels to the right of it.
    """
    height, width = size
    toggles = np.zeros((height, width + 1), dtype=np.int32)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        first, last = np.clip(np.ceil([y0 - 0.5, y1 - 0.5]), 0, height).astype(int)
        rows = np.arange(first, last)
        crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)
        toggles[rows, columns] += 1  # a row occurs once for an edge
    return np.asarray(toggles.cumsum(axis=1)[:, :width] % 2 == 1)
