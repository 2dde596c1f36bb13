"""Painting of single things - objects, blobs, grounds - into a float64 image of [0, 1].

Arithmetic is in float64 and random numbers come from `RandomState`, whose streams are frozen: the rounded result does
not depend on the machine or the numpy version.
"""

from dataclasses import dataclass

import numpy as np

from fsbench.demo.patterns import Pattern
from fsbench.demo.shapes import REACH, Outline

Window = tuple[slice, slice]
Colours = tuple[np.ndarray, np.ndarray]
"""First and second colour of a thing, each (3,) red, green, blue in [0, 1]."""


@dataclass(frozen=True)
class Pose:
    """Where a thing lies: centre in pixels, radius in pixels along its two axes, rotation in radians."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    angle: float

    @property
    def radius(self) -> float:
        """Of the disc of the same area."""
        return float(self.radius_x * self.radius_y) ** 0.5


@dataclass(frozen=True)
class Stencil:
    """A thing's place in the image: arrays (h, w) over a window of it.

    `x`, `y` are coordinates in the thing's own frame and `distance` the signed distance to its outline, all in radii;
    `opacity` in [0, 1] has an edge about one pixel wide.
    """

    window: Window
    x: np.ndarray
    y: np.ndarray
    distance: np.ndarray
    opacity: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """Pixels (h, w) bool that belong to the thing."""
        return self.opacity > 0.5


def stencil(pose: Pose, outline: Outline, height: int, width: int) -> Stencil:
    """Place `outline` in an image; the centre of `pose` must lie inside it."""
    reach = REACH * max(pose.radius_x, pose.radius_y)
    top, bottom = max(int(pose.y - reach), 0), min(int(pose.y + reach) + 2, height)
    left, right = max(int(pose.x - reach), 0), min(int(pose.x + reach) + 2, width)
    dy, dx = (np.arange(top, bottom) - pose.y)[:, None], (np.arange(left, right) - pose.x)[None]
    cosine, sine = np.cos(pose.angle), np.sin(pose.angle)
    x, y = (cosine * dx + sine * dy) / pose.radius_x, (cosine * dy - sine * dx) / pose.radius_y
    distance = outline(x, y)
    window = (slice(top, bottom), slice(left, right))
    return Stencil(window, x, y, distance, np.clip(0.5 - distance * pose.radius, 0, 1))


def texture(
    shape: Stencil, pattern: Pattern, periods: float, turn: float, colours: Colours, table: np.ndarray
) -> np.ndarray:
    """Colours (h, w, 3) of `pattern` over the stencil, turned by `turn` radians against the outline."""
    u, v = _turned(shape, turn)
    return two_tone(pattern(u, v, shape.distance, periods, table), colours)


def shading(shape: Stencil, turn: float, colours: Colours) -> np.ndarray:
    """Colours (h, w, 3) that run smoothly from the first to the second across the stencil."""
    return two_tone(np.clip(0.5 + 0.3 * _turned(shape, turn)[0], 0, 1), colours)


def _turned(shape: Stencil, turn: float) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = np.cos(turn), np.sin(turn)
    return cosine * shape.x + sine * shape.y, cosine * shape.y - sine * shape.x


def two_tone(mix: np.ndarray, colours: Colours) -> np.ndarray:
    """(h, w) amounts of [0, 1] -> colours (h, w, 3), the first colour at 0."""
    return colours[0] + mix[..., None] * (colours[1] - colours[0])


def lay(canvas: np.ndarray, shape: Stencil, colour: np.ndarray) -> None:
    """Paint `colour` (h, w, 3) through the stencil onto `canvas` (H, W, 3), in place."""
    region = canvas[shape.window]
    region += shape.opacity[..., None] * (colour - region)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Colour (3,) red, green, blue; arguments in [0, 1], the hue wraps."""
    position = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    return value - value * saturation * np.clip(np.minimum(position, 4 - position), 0, 1)


def smooth_noise(rng: np.random.RandomState, height: int, width: int, cells: int) -> np.ndarray:
    """(height, width) of [0, 1]: a (cells, cells) random grid, interpolated bilinearly."""
    grid = rng.random_sample((cells, cells))
    return _interpolation(height, cells) @ grid @ _interpolation(width, cells).T


def _interpolation(length: int, cells: int) -> np.ndarray:
    position = np.linspace(0, cells - 1, length)[:, None] - np.arange(cells)
    return np.maximum(0, 1 - np.abs(position))
