"""Images as the protocols resize them (fscs-protocol §6, fss-protocol §4, hmnet.md §11.3)."""

from collections.abc import Callable
from functools import cache
from itertools import count

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fsbench.data.batch import IMAGENET_MEAN
from fsbench.data.frames import frame_shape
from fsbench.data.label_resizing import LABEL_RESIZES, letterbox_shape, padded_shape

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


def frame_image(image: Image.Image | np.ndarray, side: int) -> Tensor:
    """Shrink or enlarge an RGB image into a frame by OpenCV's linear interpolation in 8 bits, without antialiasing.

    Args:
        image: PIL's, or (H, W, 3) uint8.
        side: of the frame in pixels.

    Returns:
        The image at the top left of (3, side, side), float32 in 0..255; padding has the mean colour of ImageNet, which
        is 0 after normalisation.
    """
    pixels = np.asarray(image)
    height, width = frame_shape(pixels.shape[0], pixels.shape[1], side)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    framed = torch.mul(torch.tensor(IMAGENET_MEAN), 255)[:, None, None].repeat(1, side, side)
    framed[:, :height, :width] = torch.from_numpy(resized).permute(2, 0, 1)
    return framed


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


def letterbox_image(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image by one factor, bilinear without antialiasing, in the top left of a square (segic.md §2).

    The step between samples is the inverse of the factor, as in `label_resizing.letterboxed`.

    Returns:
        (3, size, size), float32 in 0..255; padding has the mean colour of ImageNet, which is 0 after normalisation.
    """
    canvas = torch.mul(torch.tensor(IMAGENET_MEAN), 255)[:, None, None].repeat(1, size, size)
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1)[None].contiguous()
    letterbox_shape(pixels.shape[2], pixels.shape[3], size)  # which refuses those of which nothing is left
    scale = size / max(pixels.shape[2:])
    resized = F.interpolate(pixels, scale_factor=scale, mode="bilinear", align_corners=False)[0]
    canvas[:, : resized.shape[1], : resized.shape[2]] = resized
    return canvas


_IMAGE_RESIZES = {
    "pil": resize_image,
    "pil_both": resize_image,
    "cv2": resize_image_cv2,
    "frame": frame_image,
    "padded": resize_padded,
    "bicubic": resize_image_bicubic,
    "letterbox": letterbox_image,
}
RESIZES = {name: (image, LABEL_RESIZES[name]) for name, image in _IMAGE_RESIZES.items()}
"""`Protocol.resize`, or a method's own choice -> how images and label maps become S x S."""
