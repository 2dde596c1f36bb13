"""Frames: images brought into a square with their aspect ratio, the rest of it padded (fssdino.md §3 step 5, §5).

A protocol with a frame compares prediction and truth of the whole square, stretched to the query's own size: padding is
there, as background, and the image is squashed. Images come into frames in `fsbench.data.transforms`.
"""

from functools import lru_cache
from math import ceil

import numpy as np

from fsbench.data.dataset import VOID
from fsbench.data.label_maps import resize_labels, resize_labels_cv2, take_pixels


def frame_shape(height: int, width: int, side: int) -> tuple[int, int]:
    """Return height and width of an image in a frame: the longer side is `side`, the other is rounded, at least 1."""
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def frame_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring a label map (h, w) into a frame as `frame_image` does its image, by OpenCV's nearest; void outside of it.

    Args:
        labels: uint8.
        height, width: of the frame, which are equal.
    """
    inner = frame_shape(labels.shape[0], labels.shape[1], height)
    framed = np.full((height, width), VOID, dtype=np.uint8)
    framed[: inner[0], : inner[1]] = resize_labels_cv2(labels, *inner)
    return framed


def stretch(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch the label map (side, side) of a frame to (*size) by torch's `nearest-exact`, padding included."""
    return take_pixels(labels, *(_exact_index(*lengths) for lengths in zip(labels.shape, size, strict=True)))


@lru_cache(maxsize=4096)
def _exact_index(length: int, size: int) -> np.ndarray:
    """Return floor(scale · (i + 1/2) - 1/2 + 1/2) for i in 0..size, at least 0 and below `length`.

    torch computes it in float32 and rounds once before 1/2 is added, as its kernels multiply and subtract in one step.
    """
    scale = float(np.float32(length) / np.float32(size))
    place = (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)
    return np.clip(np.floor(place + np.float32(0.5)).astype(np.int64), 0, length - 1)


def stretch_truth(labels: np.ndarray, side: int) -> np.ndarray:
    """Bring a label map (h, w) uint8 into a frame, and stretch the frame back to (h, w); padding is background."""
    framed = frame_labels(labels, side, side)
    framed[framed == VOID] = 0
    return stretch(framed, (labels.shape[0], labels.shape[1]))


def over_image(labels: np.ndarray, side: int | None) -> np.ndarray:
    """Undo the stretching for pictures: return the part of a stretched label map that the image fills, over the image.

    Args:
        labels: (h, w), of an image of this size.
        side: of the frame; None where labels and image lie over each other as they are.
    """
    if side is None:
        return labels
    height, width = labels.shape
    inner = frame_shape(height, width, side)
    return resize_labels(labels[: ceil(height * inner[0] / side), : ceil(width * inner[1] / side)], height, width)
