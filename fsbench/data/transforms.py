"""Images as the protocols resize them (fscs-protocol §6, fss-protocol §4, hmnet.md §11.3).

Their label maps follow in `fsbench.data.label_maps`, by rules of the same names.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fsbench.data.batch import IMAGENET_MEAN
from fsbench.data.label_maps import LABEL_RESIZES, frame_shape, letterbox_shape, padded_shape
from fsbench.data.resizing import resize_by_pil
from fsbench.data.warping import resize_by_opencv


def resize_image(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to (3, size, size) uint8 by PIL's antialiasing bilinear filter, aspect ratio ignored.

    Args:
        image: a PIL image, or (H, W, 3) uint8.
        size: side of the square in pixels.
    """
    return _planes(resize_by_pil(image, size, size))


def _planes(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def centre_square(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to 1.15 times `size` both ways and return its middle, (3, size, size) uint8 (fort.md §3).

    An odd margin is cut as torchvision does, which rounds half of it to the even number: 16 of 257 - 224 = 33.
    """
    whole = resize_image(image, int(size * 1.15))
    start = round((whole.shape[1] - size) / 2)
    return whole[:, start : start + size, start : start + size].contiguous()


def resize_image_bicubic(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to (3, size, size) uint8 by PIL's antialiasing bicubic filter, its default (seggpt.md §2)."""
    return _planes(resize_by_pil(image, size, size, Image.Resampling.BICUBIC))


def resize_image_cv2(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to (3, size, size) float32 in 0..255 by OpenCV, bilinear without antialiasing."""
    return _planes(resize_by_opencv(np.asarray(image, dtype=np.float32), size, size))


def resize_image_bytes(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image to (3, size, size) uint8 by OpenCV in 8 bits, bilinear without antialiasing."""
    return _planes(resize_by_opencv(np.asarray(image), size, size))


def _in_square(inner: Tensor, size: int, padding: tuple[float, float, float] = IMAGENET_MEAN) -> Tensor:
    """Return the image (3, h, w) at the top left of (3, size, size), float32 in 0..255.

    The rest has a colour of three shares of 255. By default it is the mean colour of ImageNet, which is 0 after
    normalisation.
    """
    square = torch.mul(torch.tensor(padding), 255)[:, None, None].repeat(1, size, size)
    square[:, : inner.shape[1], : inner.shape[2]] = inner
    return square


def frame_image(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image into the top left of a square (3, size, size), longer side `size`, by OpenCV in 8 bits.

    The result is float32 in 0..255; the padding has ImageNet's mean colour (fssdino.md §3, §5).
    """
    pixels = np.asarray(image)
    return _in_square(_planes(resize_by_opencv(pixels, *frame_shape(pixels.shape[0], pixels.shape[1], size))), size)


def resize_padded(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image into the top left of a black square (3, size, size), float32 in 0..255, by OpenCV.

    The longer side becomes `size`, and both sides are rounded down to multiples of 8 (`padded_shape`).
    """
    pixels = np.asarray(image, dtype=np.float32)
    resized = resize_by_opencv(pixels, *padded_shape(pixels.shape[0], pixels.shape[1], size))
    return _in_square(_planes(resized), size, padding=(0.0, 0.0, 0.0))


def letterbox_image(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize an RGB image by one factor into the top left of (3, size, size), float32 in 0..255 (segic.md §2).

    Interpolation is bilinear without antialiasing; the step between samples is the inverse of the factor. The padding
    has ImageNet's mean colour.
    """
    pixels = _planes(np.asarray(image, dtype=np.float32))
    letterbox_shape(pixels.shape[1], pixels.shape[2], size)  # which refuses those of which nothing is left
    scale = size / max(pixels.shape[1:])
    return _in_square(F.interpolate(pixels[None], scale_factor=scale, mode="bilinear", align_corners=False)[0], size)


def resize_intensities(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize measured intensities to (3, size, size) float32 by OpenCV, bilinear without antialiasing.

    Args:
        image: (H, W) float32, normalised by its data set, which is repeated in three channels; or a photo (H, W, 3)
            uint8, which is standardised by the mean and standard deviation of all its values.
        size: side of the square in pixels.
    """
    pixels = np.asarray(image)
    if pixels.dtype == np.uint8:
        values = pixels.astype(np.float32)
        pixels = (values - values.mean()) / (values.std() or 1)
    elif pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, 2)
    return _planes(resize_by_opencv(pixels, size, size))


def resize_measured(image: Image.Image | np.ndarray, size: int) -> Tensor:
    """Resize measured intensities (H, W) float32 to three equal channels (3, size, size), bilinear with antialiasing.

    A slice of that size stays as it is (universeg.md §2.6).
    """
    plane = torch.from_numpy(np.array(image, dtype=np.float32))[None, None]
    if plane.shape[-2:] != (size, size):
        plane = F.interpolate(plane, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return plane[0].repeat(3, 1, 1)


_IMAGE_RESIZES: dict[str, Callable[[Image.Image | np.ndarray, int], Tensor]] = {
    "pil": resize_image,
    "pil_both": resize_image,
    "cv2": resize_image_cv2,
    "cv2_linear": resize_image_bytes,
    "frame": frame_image,
    "padded": resize_padded,
    "bicubic": resize_image_bicubic,
    "letterbox": letterbox_image,
    "prepared": resize_image,
    "intensities": resize_intensities,
    "measured": resize_measured,
}
RESIZES = {name: (image, LABEL_RESIZES[name]) for name, image in _IMAGE_RESIZES.items()}
"""`Protocol.resize`, or a method's own choice -> how images and label maps become S x S."""


MEASURED = ("intensities", "measured")
"""Rules of `RESIZES` that resize intensities, not 8 bits of a colour."""


def own_pixels(size: Sequence[int], side: int, resize: str) -> Tensor | None:
    """Return which pixels (1, S, S) bool of its letterboxed square an image covers; None for other rules.

    Args:
        size: height and width of the original image.
        side: side S of the square.
        resize: name of the rule by which the image was resized.
    """
    if resize != "letterbox":
        return None
    rows, columns = letterbox_shape(size[0], size[1], side)
    inside = torch.zeros(1, side, side, dtype=torch.bool)
    inside[:, :rows, :columns] = True
    return inside
