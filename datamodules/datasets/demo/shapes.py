"""Outlines of the demo's objects, as functions of the plane.

Each outline takes coordinates x, y (float64 arrays of one shape, in units of the object's radius) and returns roughly
the signed distance to the outline in the same unit: negative inside. None reaches farther than `REACH`.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]

REACH = 1.25
"""Largest distance of an outline from the origin, in radii."""


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    sector = 2 * np.pi / 5
    angle = np.mod(np.arctan2(y, x), sector) - sector / 2  # folded: an inner corner at 0, tips at ±36°
    radius, inner = np.hypot(x, y), 0.47
    tip_x, tip_y = np.cos(sector / 2) - inner, np.sin(sector / 2)
    along, across = radius * np.cos(angle) - inner, radius * np.abs(np.sin(angle))
    return (tip_y * along - tip_x * across) / np.hypot(tip_x, tip_y)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(x - 0.95, y - 0.36), np.maximum(y - 0.95, x - 0.36))


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    side = 0.55
    u, v = (x + y) / np.sqrt(2), (y - x) / np.sqrt(2)
    lobes = np.minimum(np.hypot(u - side, v), np.hypot(u, v - side)) - side
    return np.minimum(np.maximum(np.abs(u), np.abs(v)) - side, lobes)


def _arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    head = np.maximum(-x, (0.8 * x + np.abs(y) - 0.8) / 1.28)
    shaft = np.maximum(np.abs(y) - 0.3, np.abs(x + 0.4) - 0.55)
    return np.minimum(head, shaft)


def _clover(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.minimum(np.hypot(x - 0.47, y - 0.47) - 0.44, np.maximum(x, y) - 0.42)


SHAPES: dict[str, Outline] = {
    "disc": lambda x, y: np.hypot(x, y) - 0.9,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.8,
    "triangle": lambda x, y: np.maximum(0.866 * np.abs(x) + 0.5 * y, -y) - 0.5,
    "star": _star,
    "cross": _cross,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.69) - 0.27,
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.75 - np.hypot(x - 0.5, y)),
    "heart": _heart,
    "arrow": _arrow,
    "leaf": lambda x, y: np.hypot(x, np.abs(y) + 0.6) - 1.17,
    "clover": _clover,
    "hourglass": lambda x, y: np.maximum(np.abs(y) - 0.9, (np.abs(x) - 0.8 * np.abs(y) - 0.1) / 1.28),
}


@cache
def unit_area(name: str) -> float:
    """Return the area of the shape `name` in squared radii, counted on a 480 x 480 grid."""
    axis = (np.arange(480) + 0.5) / 200 - 1.2
    x, y = np.meshgrid(axis, axis)
    return float((SHAPES[name](x, y) < 0).mean() * 2.4**2)


def blob(bumps: np.ndarray) -> Outline:
    """Return an irregular closed outline; `bumps` (n,) complex are the radius' harmonics 2 to n + 1."""

    def outline(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        radius = np.hypot(x, y)
        turn = (x + 1j * y) / np.maximum(radius, 1e-9)
        edge, power = np.full_like(radius, 0.75), turn
        for bump in bumps:
            power = power * turn
            edge += bump.real * power.real - bump.imag * power.imag
        return radius - np.minimum(edge, REACH)

    return outline
