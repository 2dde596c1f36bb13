"""Frames: images brought into a square with their aspect ratio, the rest of it padded (fssdino.md §3 step 5, §5).

A protocol with a frame compares prediction and truth of the whole square, stretched to the query's own size: padding is
there, as background, and the image is squashed. Needs no torch until tensors are asked for.
"""

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fsbench.data.dataset import VOID
from fsbench.data.label_maps import resize_labels

if TYPE_CHECKING:
    from torch import Tensor


def frame_shape(height: int, width: int, side: int) -> tuple[int, int]:
    """Return height and width of an image in a frame: the longer side is `side`, the other is rounded, at least 1."""
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def frame_image(image: Image.Image | np.ndarray, side: int) -> "Tensor":
    """Shrink or enlarge an RGB image into a frame by OpenCV's linear interpolation in 8 bits, without antialiasing.

    Args:
        image: PIL's, or (H, W, 3) uint8.
        side: of the frame in pixels.

    Returns:
        The image at the top left of (3, side, side), float32 in 0..255; padding has the mean colour of ImageNet, which
        is 0 after normalisation.
    """
    # spared until it is needed
    import cv2
    import torch

    from fsbench.data.batch import IMAGENET_MEAN

    pixels = np.asarray(image)
    height, width = frame_shape(pixels.shape[0], pixels.shape[1], side)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    framed = torch.mul(torch.tensor(IMAGENET_MEAN), 255)[:, None, None].repeat(1, side, side)
    framed[:, :height, :width] = torch.from_numpy(resized).permute(2, 0, 1)
    return framed


def frame_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring a label map (h, w) into a frame as `frame_image` does its image, by OpenCV's nearest; void outside of it.

    Args:
        labels: uint8.
        height, width: of the frame, which are equal.
    """
    # spared until it is needed
    import cv2

    inner = frame_shape(labels.shape[0], labels.shape[1], height)
    framed = np.full((height, width), VOID, dtype=np.uint8)
    framed[: inner[0], : inner[1]] = cv2.resize(labels, inner[::-1], interpolation=cv2.INTER_NEAREST)
    return framed


def stretch(labels: "Tensor", size: tuple[int, int]) -> "Tensor":
    """Stretch the label map (side, side) of a frame to (*size) by torch's `nearest-exact`, padding included."""
    import torch.nn.functional as F  # spared until it is needed

    return F.interpolate(labels[None, None].float(), size, mode="nearest-exact")[0, 0].to(labels.dtype)


def stretch_truth(labels: np.ndarray, side: int) -> np.ndarray:
    """Bring a label map (h, w) uint8 into a frame, and stretch the frame back to (h, w); padding is background."""
    import torch  # spared until it is needed

    framed = frame_labels(labels, side, side)
    framed[framed == VOID] = 0
    return np.asarray(stretch(torch.from_numpy(framed), (labels.shape[0], labels.shape[1])).numpy())


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
