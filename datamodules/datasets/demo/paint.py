"""Paint objects, blobs and grounds into a float64 image of [0, 1].

Arithmetic is in float64 and random numbers come from `RandomState`, whose streams are frozen: the rounded result does
not depend on the machine or the numpy version.
"""

from dataclasses import dataclass

import numpy as np

from fsbench.datamodules.datasets.demo.patterns import Pattern
from fsbench.datamodules.datasets.demo.shapes import REACH, Outline

Window = tuple[slice, slice]
Colors = tuple[np.ndarray, np.ndarray]
"""First and second color of an object, each (3,) red, green, blue in [0, 1]."""


@dataclass(frozen=True)
class Pose:
    """Position of an object: center in pixels, radii in pixels along its two axes, rotation in radians."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    angle: float

    @property
    def radius(self) -> float:
        return float(self.radius_x * self.radius_y) ** 0.5


@dataclass(frozen=True)
class Stencil:
    """Region of the image that an object covers, as arrays (h, w) over a window of the image.

    Attributes:
        window: rows and columns of the image.
        x, y: coordinates in the object's own frame, in radii.
        distance: signed distance to its outline in radii, negative inside.
        opacity: in [0, 1], with an edge about one pixel wide.
    """

    window: Window
    x: np.ndarray
    y: np.ndarray
    distance: np.ndarray
    opacity: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        return self.opacity > 0.5


def stencil(pose: Pose, outline: Outline, height: int, width: int) -> Stencil:
    """Place `outline` in an image of height x width; the center of `pose` must lie inside the image."""
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
    shape: Stencil, pattern: Pattern, periods: float, turn: float, colors: Colors, table: np.ndarray
) -> np.ndarray:
    """Return the colors (h, w, 3) of a texture over an object's window; `turn` rotates it against the outline."""
    u, v = _turned(shape, turn)
    return two_tone(pattern(u, v, shape.distance, periods, table), colors)


def shading(shape: Stencil, turn: float, colors: Colors) -> np.ndarray:
    """Return colors (h, w, 3) that run smoothly from the first to the second across an object, in direction `turn`."""
    return two_tone(np.clip(0.5 + 0.3 * _turned(shape, turn)[0], 0, 1), colors)


def _turned(shape: Stencil, turn: float) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = np.cos(turn), np.sin(turn)
    return cosine * shape.x + sine * shape.y, cosine * shape.y - sine * shape.x


def two_tone(mix: np.ndarray, colors: Colors) -> np.ndarray:
    """Mix two colors by amounts (h, w) of [0, 1] into colors (h, w, 3); 0 gives the first color."""
    return colors[0] + mix[..., None] * (colors[1] - colors[0])


def lay(canvas: np.ndarray, shape: Stencil, color: np.ndarray) -> None:
    """Paint `color` (h, w, 3) onto `canvas` (H, W, 3) where the stencil covers it, in place."""
    region = canvas[shape.window]
    region += shape.opacity[..., None] * (color - region)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Convert a color from hue (wrapping at 1), saturation and value in [0, 1] to (3,) red, green, blue."""
    position = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    return value - value * saturation * np.clip(np.minimum(position, 4 - position), 0, 1)


def smooth_noise(rng: np.random.RandomState, height: int, width: int, cells: int) -> np.ndarray:
    """Return noise (height, width) of [0, 1]: a (cells, cells) random grid, interpolated bilinearly."""
    grid = rng.random_sample((cells, cells))
    return _interpolation(height, cells) @ grid @ _interpolation(width, cells).T


def _interpolation(length: int, cells: int) -> np.ndarray:
    position = np.linspace(0, cells - 1, length)[:, None] - np.arange(cells)
    return np.maximum(0, 1 - np.abs(position))
