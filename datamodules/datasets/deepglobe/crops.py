"""The crops of DeepGlobe that the field tests on (cd-fss-protocol §2.1)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

SIDE = 6
"""Crops of a side."""
PIXELS, RAREST = 408**2, 0.048
"""Pixels that shares are taken of, whatever a crop has, and the share that the rarest colour must exceed."""
COLOURS = {
    1: (255, 255, 0), 2: (0, 255, 255), 3: (255, 0, 255), 4: (0, 255, 0), 5: (0, 0, 255), 6: (255, 255, 255),
}  # fmt: skip
"""Number of a class -> its RGB colour; black is unknown, and no class."""


class Crop(NamedTuple):
    """A crop of a scene.

    Attributes:
        row, column: its place, from 0.
        place: rows and columns of the scene.
        is_kept: it has more than one colour, and none of a small share.
        masks: number of each class that it shows -> pixels (h, w) bool.
    """

    row: int
    column: int
    place: tuple[slice, slice]
    is_kept: bool
    masks: dict[int, np.ndarray]


def crops(labels: np.ndarray) -> Iterator[Crop]:
    """Yield the 36 crops of a scene's mask (H, W, 3) uint8 RGB, row after row.

    Every colour counts, also black and impure ones: one stray pixel makes a crop that is not kept.
    """
    height, width = labels.shape[:2]
    packed = labels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    for row in range(SIDE):
        for column in range(SIDE):
            place = (
                slice(row * height // SIDE, (row + 1) * height // SIDE),
                slice(column * width // SIDE, (column + 1) * width // SIDE),
            )
            values, counts = np.unique(packed[place], return_counts=True)
            is_kept = len(values) > 1 and counts.min() / PIXELS > RAREST
            present = set(values.tolist())
            codes = {number: (red << 16) + (green << 8) + blue for number, (red, green, blue) in COLOURS.items()}
            masks = {number: packed[place] == code for number, code in codes.items() if code in present}
            yield Crop(row, column, place, bool(is_kept), masks)
