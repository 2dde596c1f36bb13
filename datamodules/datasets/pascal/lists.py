"""Which classes of an image PASCAL-5i's lists keep: at least three set samples on a 32-pixel grid (fss-protocol §3.1).

The rule goes back to the program that made the lists: it shrank each class mask 32 times by nearest neighbour. Sample
positions were exact ties, decided by rounding noise of a numerically estimated map. That noise depends on the split and
the grid only; the entries below reproduce it. For every other grid the choice changes no list.
"""

from functools import cache
from typing import Literal

import numpy as np

MIN_SAMPLES = 3
STEP = 32

_UNIT = 2.0**-49
# Each entry: rows x columns, then a b t (columns) and a' b' t' (rows) in units of 2^-49.
_NOISE = {
    "trn": """
        8x13 0 6 -48 -8 0 32; 8x17 0 2 0 -2 0 16; 9x11 -10 5.5 -8 -6 0 32; 9x12 -4 3.004 -24 4 -2.5 0;
        9x13 0 -2.9 0 4 0 -16; 9x17 -2 2.57 -16 4 -0.43 -16; 10x16 0 8.7 -64 -4 2 48; 10x17 4 -1.6 -48 12 -2.8 -32;
        11x14 0 0.87 -16 -4 2 16; 11x15 -2 1 32 0 -1.4 -16; 11x17 -6 14.7 -48 -8 2 80; 12x17 -4 5.9 0 -4 0 48;
        13x16 -10 3.7 16 -6 0 48; 13x17 -6 3.5 0 0 -2 -32; 14x17 -2 -3 -16 4 -0.2 0; 15x10 4 3 -96 0 2.6 -32;
        15x11 -2 5.6 -80 0 -1.99 0; 15x12 0 -3.67 16 4 -6.1 0; 15x15 -4 3 -32 -2 1 -32; 15x17 0 -1.9 16 4 0 -32;
        16x17 -8 1.5 -16 -8 2.66 32; 17x10 -2 -4.7 80 4 -5 -32; 17x11 4 0.7 -40 0 1 -32; 17x12 4 0.37 -8 4 2.25 -32;
        17x13 4 8.4 -128 0 -2 -32; 17x17 4 -3.9 16 4 0.5 -32""",
    "val": """
        10x17 -2 6.1 -16 -2 1 16; 11x17 4 1 -64 0 1 0; 12x17 -4 4.3 16 4 -0.8 -32; 13x17 0 -3.46 16 -4 0 32;
        17x7 12 -7 100 -2 -9 0; 17x12 4 -3.46 16 4 -1.9 -32; 17x13 4 6.93 -96 4 -4.76 -32""",
}


@cache
def noise_table() -> dict[tuple[str, int, int], tuple[float, ...]]:
    """(split, rows, columns) -> a, b, t, a', b', t'."""
    table = {}
    for split, entries in _NOISE.items():
        for entry in entries.split(";"):
            grid, *values = entry.split()
            rows, columns = map(int, grid.split("x"))
            table[split, rows, columns] = tuple(map(float, values))
    return table


@cache
def sample_positions(split: Literal["trn", "val"], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (n,) of the grid's samples that lie inside a label map of this size."""
    rows, columns = -(-(height + 30) // STEP), -(-(width + 30) // STEP)
    r, k = np.meshgrid(np.arange(rows, dtype=np.float64), np.arange(columns, dtype=np.float64), indexing="ij")
    y, x = STEP * r, STEP * k
    if (split, rows, columns) in noise_table():
        a, b, t, a2, b2, t2 = noise_table()[split, rows, columns]
        # every product and sum in this order: the noise is in the last bits
        x = np.floor((STEP + a * _UNIT) * k + (b * _UNIT) * r + (15.5 + t * _UNIT) + 0.5) - 15
        y = np.floor((b2 * _UNIT) * k + (STEP + a2 * _UNIT) * r + (15.5 + t2 * _UNIT) + 0.5) - 15
    inside = (y < height) & (x < width)
    return y[inside].astype(np.int64), x[inside].astype(np.int64)


def set_samples(labels: np.ndarray, split: Literal["trn", "val"]) -> np.ndarray:
    """Samples (256,) int64 of the label map (H, W) uint8 that show each label; a class with `MIN_SAMPLES` is kept."""
    return np.bincount(labels[sample_positions(split, *labels.shape)], minlength=256)
