"""Parts of images with the proportions of a tile, so that tiles are filled."""

from typing import NamedTuple

import numpy as np


class Crop(NamedTuple):
    """Part of an image: its first row and column, height and width in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return the part of an image (H, W, 3) or a label map (H, W)."""
        return np.ascontiguousarray(array[self.top : self.top + self.height, self.left : self.left + self.width])


def crop_around(mask: np.ndarray, proportion: float) -> Crop:
    """Return the largest crop of an image that shows the object and has the proportion height / width.

    It is centred on the object's bounding box as far as the image's border allows. If the crop would cut the object,
    the whole image is returned.

    Args:
        mask: (H, W) bool, the object; if it is empty, the crop is centred on the image.
        proportion: Height divided by width.
    """
    height, width = mask.shape
    part = min(height, max(1, round(width * proportion))), min(width, max(1, round(height / proportion)))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    sides = (rows, height), (columns, width)
    boxes = [(places[0], places[-1] + 1) if len(places) else (0, side) for places, side in sides]
    is_cut = len(rows) > 0 and any(end - start > length for (start, end), length in zip(boxes, part, strict=True))
    if is_cut:
        return Crop(0, 0, height, width)
    starts = []
    for (start, end), length, side in zip(boxes, part, mask.shape, strict=True):
        starts.append(int(min(max((start + end) // 2 - length // 2, 0), side - length)))
    return Crop(starts[0], starts[1], *part)
