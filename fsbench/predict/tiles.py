"""Large images in overlapping tiles, so that a method sees small objects at a size at which it can find them.

Shapes: (H, W) an image, (h, w) a tile.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np

from fsbench.predict.supports import Support

Tile = tuple[slice, slice]
"""Rows and columns of an image."""


def starts(length: int, side: int) -> list[int]:
    """Return where tiles of `side` pixels begin that cover `length` pixels and overlap by half of a tile or more.

    >>> starts(100, 40), starts(30, 40)
    ([0, 20, 40, 60], [0])
    """
    steps = ceil(max(length - side, 0) / (side / 2))
    return [round(step * (length - side) / steps) for step in range(steps + 1)] if steps else [0]


def label_by_tiles(size: tuple[int, int], side: int, classes: int, label: Callable[[Tile], np.ndarray]) -> np.ndarray:
    """Return the label map (H, W) uint8 of an image, joined from those of its tiles.

    Each pixel gets the label with most weight among the tiles that show the pixel, the smaller number if two have
    equal weight. A tile's weight falls toward its border, where the tile shows least of what is around a pixel.

    Args:
        size: Height and width of the image.
        side: Side of the tiles in pixels; a shorter side of the image limits it.
        classes: Number of classes.
        label: Function that returns the label map (h, w) of a tile.
    """
    height, width = size
    found = np.empty(size, np.uint8)
    votes = np.zeros((classes + 1, min(side, height), width), np.float32)
    for top, following in pairwise([*starts(height, side), height]):
        for left in starts(width, side):
            labels = label(np.s_[top : top + side, left : left + side])
            weights = np.outer(*(np.minimum(steps := np.arange(1, n + 1), steps[::-1]) for n in labels.shape))
            for number in np.unique(labels):
                votes[number, :, left : left + side] += weights * (labels == number)
        rows = following - top  # no later tile shows them
        found[top:following] = votes[:, :rows].argmax(0)
        votes = np.concatenate([votes[:, rows:], np.zeros_like(votes[:, :rows])], axis=1)
    return found


def objects_at_tile_size(support: Support, side: int) -> list[Support]:
    """Return the parts of a large labelled image that show its classes, one for each: about as large as a tile, or as
    the class's marked pixels if these are larger. A smaller image, or one without classes, is returned as it is."""
    if max(support.labels.shape) <= side or not support.classes:
        return [support]
    parts = []
    for number, name in support.classes.items():
        place = []
        for axis, length in enumerate(support.labels.shape):
            marked = np.flatnonzero((support.labels == number).any(1 - axis))
            marked = marked if len(marked) else np.arange(length)
            extent = min(length, max(side, int(np.ptp(marked)) + 1))
            start = min(max(int(marked[0] + marked[-1] + 1 - extent) // 2, 0), length - extent)
            place.append(slice(start, start + extent))
        part = replace(
            support,
            image_name=f"{support.image_name} at {place[1].start},{place[0].start} {place[1].stop},{place[0].stop}",
            pixels=np.ascontiguousarray(support.pixels[tuple(place)]),
            labels=np.ascontiguousarray(support.labels[tuple(place)]),
            classes={number: name},
        )
        parts.append(part)
    return parts
