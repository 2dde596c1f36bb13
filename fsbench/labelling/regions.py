"""Label maps as run lengths, which a line of a journal holds, and the connected regions of a label map.

Shapes: (H, W) a label map.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from fsbench.data.rle import decode_rle


@dataclass(frozen=True)
class RunLengths:
    """A label map, compressed.

    Attributes:
        size: H and W.
        counts: COCO's compressed run lengths of every class that has pixels, by class number.
    """

    size: tuple[int, int]
    counts: dict[int, str]

    @classmethod
    def encode(cls, labels: np.ndarray) -> "RunLengths":
        """Compress a label map (H, W) uint8."""
        height, width = labels.shape
        counts = {
            number: coco_mask.encode(np.asfortranarray(labels == number))["counts"].decode("ascii")
            for number in np.unique(labels).tolist()
            if number
        }
        return cls((height, width), counts)

    def decode(self) -> np.ndarray:
        """Return the label map (H, W) uint8. Raises ValueError for runs that do not fill it."""
        labels = np.zeros(self.size, dtype=np.uint8)
        for number, counts in self.counts.items():
            labels[decode_rle({"size": list(self.size), "counts": counts}, *self.size)] = number
        return labels


@dataclass(frozen=True)
class Region:
    """A connected region of one class: pixels that touch at an edge or a corner.

    Attributes:
        number: The class.
        left, top: The corner of its box, in pixels of the image.
        mask: (h, w) bool, the region in its box.
    """

    number: int
    left: int
    top: int
    mask: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height."""
        height, width = self.mask.shape
        return self.left, self.top, width, height


def connected_regions(labels: np.ndarray) -> Iterator[Region]:
    """Yield the regions of a label map (H, W) uint8, class by class in ascending order."""
    import cv2  # slow to import

    for number in np.unique(labels).tolist():
        if number:
            count, parts, boxes, _ = cv2.connectedComponentsWithStats((labels == number).astype(np.uint8))
            for part in range(1, count):
                left, top, width, height = boxes[part, :4].tolist()
                window = parts[top : top + height, left : left + width]
                yield Region(number, left, top, np.asarray(window == part))
