"""Clicks on one object of an image, and the promptable networks that make a mask of them.

Coordinates are those of `strokes`: pixels of the upright image, the middle of the first one at (0.5, 0.5).
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fsbench.errors import DataError
from fsbench.files.validation import first_problem
from fsbench.labelling.strokes import Coordinate
from fsbench.predict.query_images import read_upright

MOST_CLICKS = 200
"""Clicks on one object."""
KEPT_IMAGES = 8
"""Images whose encoding stays in memory: 4 MiB each with SAM, 16 MiB with SAM 2."""


class Click(NamedTuple):
    """A point of an image.

    Attributes:
        x, y: The point.
        adds: Whether the object is there; False where it is not.
    """

    x: Coordinate
    y: Coordinate
    adds: bool


class Clicks(BaseModel):
    """The clicks on one object, as the page sends them.

    Attributes:
        image: The image's name.
        number: The class that the object is of.
        points: The clicks in their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str
    number: Annotated[int, Field(ge=1, le=254)]
    points: Annotated[list[Click], Field(min_length=1, max_length=MOST_CLICKS)]

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raise DataError unless a click says where the object is, and all are within an image of `size` (H, W)."""
        height, width = size
        for x, y, _ in self.points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise DataError(f"a click is at ({x:g}, {y:g}), expected it within {width} × {height} pixels")
        if not any(click.adds for click in self.points):
            raise DataError("no click is on the object; click on it first, then on what is to be left out")


def parse_clicks(value: Any) -> Clicks:
    """Check what a page sent. Raises DataError for anything that is no `Clicks`."""
    try:
        return Clicks.model_validate(value)
    except ValidationError as error:
        raise DataError(f"the clicks cannot be used: {first_problem(error, value)}; reload the page") from None


class Promptable(Protocol):
    """A network that segments the object at which somebody points."""

    def encode(self, pixels: np.ndarray) -> Any:
        """Return the part of the work that depends on the image (H, W, 3) uint8 alone."""

    def mask(self, encoding: Any, clicks: Sequence[Click]) -> np.ndarray:
        """Return the mask (H, W) bool of the object at `clicks`, from an encoding of `encode`."""


class ClickMasks:
    """Masks of clicks; the encodings of the images used last are kept.

    Args:
        network: The network; one thread at a time may use it.
        kept: Number of encodings.
    """

    def __init__(self, network: Promptable, kept: int = KEPT_IMAGES):
        self._network = network
        self._encoding = lru_cache(maxsize=kept)(lambda path: network.encode(read_upright(path)[0]))

    def mask(self, path: Path, clicks: Sequence[Click]) -> np.ndarray:
        """Return the mask (H, W) bool of the object at `clicks`.

        Args:
            path: The image file, whose content never changes.
            clicks: At least one of them adds.

        Raises:
            DataError: the image cannot be read.
        """
        return self._network.mask(self._encoding(path), clicks)
