"""Connected regions of masks, found by the runs of their rows, and the boxes around them.

Numpy alone: region measures and boxes are computed where neither OpenCV nor scipy is installed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fsbench.data.dataset import VOID


def runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the past-the-end positions of all horizontal runs of True in a mask (h, w), in raster order.

    Both arrays are flat indices into a mask of w + 1 columns: position = row · (w + 1) + column.
    """
    height, width = mask.shape
    places = np.zeros(1 + height * (width + 1), dtype=bool)
    places[1:].reshape(height, width + 1)[:, :-1] = mask
    edges = np.flatnonzero(places[1:] != places[:-1])
    return edges[::2], edges[1::2]


@dataclass(frozen=True)
class Regions:
    """The 8-connected regions of a mask, stored as horizontal runs of pixels.

    Attributes:
        row: the mask's width plus 1; a position is row number · `row` + column.
        starts, ends: (R,) int64, first and past-the-end position of each run.
        region: (R,) int64, the region (from 0) of each run; regions are numbered in the order of their first runs.
        number: the number of regions.
    """

    row: int
    starts: np.ndarray
    ends: np.ndarray
    region: np.ndarray
    number: int

    @classmethod
    def of(cls, mask: np.ndarray) -> "Regions":
        """Find the 8-connected regions of a mask (h, w) bool."""
        starts, ends = runs(mask)
        row = mask.shape[1] + 1
        first = np.searchsorted(ends, starts + row)  # of the runs that touch one from below, corners included
        touching = np.maximum(np.searchsorted(starts, ends + row, side="right") - first, 0)
        upper = np.repeat(np.arange(len(starts)), touching)
        lower = np.arange(len(upper)) + np.repeat(first - (np.cumsum(touching) - touching), touching)
        parent = _joined(len(starts), upper, lower)
        is_first = parent == np.arange(len(starts))
        return cls(row, starts, ends, (np.cumsum(is_first) - 1)[parent], int(is_first.sum()))

    def at(self, places: np.ndarray) -> np.ndarray:
        """Return the region number of each flat position (row number · `row` + column), which must lie in one."""
        return self.region[np.searchsorted(self.starts, places, side="right") - 1]

    def pixels(self) -> np.ndarray:
        """Return the number of pixels of each region, (number,) int64."""
        sizes = np.zeros(self.number, dtype=np.int64)
        np.add.at(sizes, self.region, self.ends - self.starts)
        return sizes

    def boxes(self) -> np.ndarray:
        """Return the boxes (number, 4) int64 of all regions: left, top, and the first column and row beyond."""
        top = self.starts // self.row
        boxes = np.tile(np.array([self.row, len(self.starts) and top[-1], 0, 0]), (self.number, 1))
        np.minimum.at(boxes[:, 0], self.region, self.starts - top * self.row)
        np.minimum.at(boxes[:, 1], self.region, top)
        np.maximum.at(boxes[:, 2], self.region, self.ends - top * self.row)
        np.maximum.at(boxes[:, 3], self.region, top + 1)
        return boxes


def _joined(number: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return for each of `number` things the first one that the pairs (one[i], other[i]) connect it to."""
    parent = np.arange(number)
    parent[other] = one  # the one above
    while True:
        grandparent = parent[parent]
        while not np.array_equal(grandparent, parent):
            parent, grandparent = grandparent, grandparent[grandparent]
        first, second = parent[one], parent[other]
        apart = first != second
        if not apart.any():
            return parent
        one, other = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        np.minimum.at(parent, other, one)


def bounding_boxes(label: np.ndarray) -> np.ndarray:
    """Replace every 8-connected piece of label 1 in a label map (h, w) by its filled bounding box.

    As in the program of HMNet's authors (hmnet.md §11.4) a box reaches one pixel farther right and down; void stays on
    top.
    """
    filled = np.zeros_like(label)
    for left, top, right, bottom in Regions.of(label == 1).boxes():
        filled[top : bottom + 1, left : right + 1] = 1
    filled[label == VOID] = VOID
    return filled


Box = tuple[float, float, float, float]
"""x, y, width and height in pixels of an image."""

BoxOf = Callable[[str, int, np.ndarray], Box | None]
"""Gives the box of a support by its name, the number of its class, and its mask (H, W)."""


def largest_part_box(mask: np.ndarray) -> Box | None:
    """Return x, y, width and height of the box of a mask's largest 8-connected part; None if the mask (H, W) is empty.

    Of equally large parts the first in raster order counts.
    """
    regions = Regions.of(np.asarray(mask) != 0)
    if not regions.number:
        return None
    left, top, right, bottom = regions.boxes()[int(regions.pixels().argmax())].tolist()
    return float(left), float(top), float(right - left), float(bottom - top)
