"""Textures of the demo's objects: the amount of the second color at each point.

Each texture takes x, y (float64 arrays in units of the object's radius), the signed distance to the outline in that
unit, the number of periods per radius and a random table (16, 16) in [0, 1); it returns an array of [0, 1].
"""

from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray], np.ndarray]


def _step(wave: np.ndarray, softness: float = 0.25) -> np.ndarray:
    return np.clip(0.5 + wave / (2 * softness), 0, 1)  # a soft edge: fine textures do not alias


def _zigzag(x: np.ndarray, y: np.ndarray, d: np.ndarray, f: float, table: np.ndarray) -> np.ndarray:
    teeth = np.abs(np.mod(f * x, 1) - 0.5)
    return _step(np.sin(2 * np.pi * (f * y + 1.1 * teeth)))


def _speckled(x: np.ndarray, y: np.ndarray, d: np.ndarray, f: float, table: np.ndarray) -> np.ndarray:
    row, column = (np.floor(2.2 * f * axis).astype(np.int64) % 16 for axis in (y, x))
    return (table[row, column] > 0.55).astype(np.float64)


PATTERNS: dict[str, Pattern] = {
    "striped": lambda x, y, d, f, table: _step(np.sin(2 * np.pi * f * x)),
    "checkered": lambda x, y, d, f, table: _step(np.sin(2 * np.pi * 0.8 * f * x) * np.sin(2 * np.pi * 0.8 * f * y)),
    "dotted": lambda x, y, d, f, table: _step(np.cos(2 * np.pi * f * x) + np.cos(2 * np.pi * f * y) - 0.7, 0.4),
    "latticed": lambda x, y, d, f, table: _step(
        np.maximum(np.cos(2 * np.pi * f * x), np.cos(2 * np.pi * f * y)) - 0.75
    ),
    "ringed": lambda x, y, d, f, table: _step(np.sin(2 * np.pi * f * np.hypot(x, y))),
    "zigzag": _zigzag,
    "rayed": lambda x, y, d, f, table: _step(np.sin(round(3 * f) * np.arctan2(y, x))),
    "speckled": _speckled,
    "rimmed": lambda x, y, d, f, table: _step(d + 0.17, 0.05),
    "halved": lambda x, y, d, f, table: _step(x, 0.08),
}
