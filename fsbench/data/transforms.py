"""Images and label maps as the protocols resize and rename them (fscs-protocol §6, fss-protocol §4, hmnet.md §11.3)."""

from collections.abc import Callable
from functools import cache
from itertools import count

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsbench.data.dataset import VOID
from fsbench.data.frames import frame_image, frame_labels, frame_shape
from fsbench.data.label_maps import resize_labels

BY_PIL = 100
"""Images that a process resizes with PIL at first: the compiled loops take 0.3 s to load, and save 2 ms an image."""
_resized = count()


def resize_image(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to (3, size, size) uint8 by PIL's antialiasing bilinear filter, aspect ratio ignored.

    PIL filters one axis after the other and rounds to 8 bits in between, so the order shows in the last bit. It is
    width first here for images of every shape, as in the Pillow that the authors used (before 13), whatever version is
    installed (fss-protocol §4, fscs-protocol §6).

    Args:
        image: PIL's, or (H, W, 3) uint8.
        size: side of the square in pixels.
    """
    pixels = np.asarray(image)
    compiled = _compiled_resize() if next(_resized) >= BY_PIL else None
    if compiled is not None:
        return torch.from_numpy(compiled(pixels, size))
    return resize_with_pil(Image.fromarray(pixels), size)


def centre_square(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to 1.15 times `size` both ways and return its middle, (3, size, size) uint8 (fort.md §3).

    An odd margin is cut as torchvision does, which rounds half of it to the even number: 16 of 257 - 224 = 33.
    """
    whole = resize_image(image, int(size * 1.15))
    start = round((whole.shape[1] - size) / 2)
    return whole[:, start : start + size, start : start + size].contiguous()


def resize_with_pil(image: Image.Image, size: int) -> Tensor:
    """Do `resize_image` with PIL itself: where numba is not installed, and as the oracle of the compiled loops."""
    for shape in ((size, image.height), (size, size)):
        image = image.resize(shape, Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


@cache
def _compiled_resize() -> Callable[[np.ndarray, int], np.ndarray] | None:
    try:
        from fsbench.data.fast.resize import resize_planes  # needs numba, which is optional
    except (ImportError, RuntimeError):  # no numba, none for this version of numpy, or nowhere to keep compiled code
        return None
    return resize_planes


def resize_image_cv2(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to (3, size, size) float32 in 0..255, OpenCV's linear way without antialiasing."""
    pixels = np.asarray(image, dtype=np.float32)
    resized = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(resized).permute(2, 0, 1).contiguous()


def resize_image_bicubic(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to (3, size, size) uint8 by PIL's antialiasing bicubic filter, its default (seggpt.md §2).

    The width is filtered first, as in `resize_image`.
    """
    found = Image.fromarray(np.asarray(image))
    for shape in ((size, found.height), (size, size)):
        found = found.resize(shape, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(found)).permute(2, 0, 1).contiguous()


def resize_labels_pil(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) to (height, width) by PIL's nearest, which looks at the middles of pixels."""
    return np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))


def resize_labels_cv2(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) to (height, width) by OpenCV's nearest (source index floor(i · in/out) in double)."""
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST))


def padded_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of an image inside a square of `size` pixels (hmnet.md §2.4.5).

    The longer side becomes `size` and the other one keeps the aspect ratio, rounded down; then both are rounded down to
    multiples of 8, at least 8.
    """
    ratio = size / max(height, width)
    inner = (size, int(width * ratio)) if height >= width else (int(height * ratio), size)
    return max(inner[0] // 8 * 8, 8), max(inner[1] // 8 * 8, 8)


def image_part(height: int, width: int, size: int, resize: str) -> tuple[int, int]:
    """Return height and width of the part, at the top left, that an image fills in its square of `size` pixels.

    Args:
        height, width: of the image.
        size: side of the square.
        resize: rule of `RESIZES` by which the image got into it.
    """
    if resize == "frame":
        return frame_shape(height, width, size)
    return padded_shape(height, width, size) if resize == "padded" else (size, size)


def resize_padded(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to `padded_shape` by OpenCV's linear interpolation, and pad it with black.

    Returns:
        The image at the top left of (3, size, size), float32 in 0..255.
    """
    pixels = np.asarray(image, dtype=np.float32)
    height, width = padded_shape(pixels.shape[0], pixels.shape[1], size)
    canvas = torch.zeros(3, size, size)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas[:, :height, :width] = torch.from_numpy(resized).permute(2, 0, 1)
    return canvas


def resize_labels_padded(labels: np.ndarray, size: int) -> np.ndarray:
    """Resize a label map (h, w) as `resize_padded` does its image, by OpenCV's nearest; void outside of it."""
    height, width = padded_shape(labels.shape[0], labels.shape[1], size)
    canvas = np.full((size, size), VOID, dtype=np.uint8)
    canvas[:height, :width] = resize_labels_cv2(labels, height, width)
    return canvas


RESIZES = {
    "pil": (resize_image, resize_labels),
    "cv2": (resize_image_cv2, resize_labels_cv2),
    "frame": (frame_image, frame_labels),
    "padded": (resize_padded, lambda labels, side, _: resize_labels_padded(labels, side)),
    "bicubic": (resize_image_bicubic, resize_labels_pil),
}
"""`Protocol.resize`, or a method's own choice -> how images and label maps become S x S."""
