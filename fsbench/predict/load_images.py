"""Decode and resize images for a method, with a bound on the memory that huge ones take."""

import threading
from dataclasses import dataclass

import numpy as np
import torch

from fsbench.base.errors import DataError
from fsbench.data.orientation import read_header, read_upright
from fsbench.data.transforms import RESIZES
from fsbench.predict.query_images import QueryImage
from fsbench.predict.result import PREVIEW

HUGE = 50_000_000
"""Images of more pixels are decoded one at a time."""


@dataclass(frozen=True)
class LoadedImage:
    """An image ready for a method.

    Attributes:
        name: Its name.
        pixels: (3, S, S), resized.
        size: Its own height and width.
        preview: (h, w, 3) uint8, at most `PREVIEW` pixels wide and high.
    """

    name: str
    pixels: torch.Tensor
    size: tuple[int, int]
    preview: np.ndarray


class ImageLoader:
    """Loads images at one size; safe to use from several threads.

    Args:
        image_size: Side that images are resized to.
        resize: Kind of resizing, a key of `fsbench.data.transforms.RESIZES`.
    """

    def __init__(self, image_size: int, resize: str):
        self.image_size = image_size
        self.resize_image = RESIZES[resize][0]
        self._huge = threading.Lock()

    def load(self, pixels: np.ndarray, name: str = "photo") -> LoadedImage:
        """Resize decoded pixels (H, W, 3) uint8."""
        height, width = pixels.shape[:2]
        return LoadedImage(name, self.resize_image(pixels, self.image_size), (height, width), _preview(pixels))

    def load_file(self, image: QueryImage) -> LoadedImage | DataError:
        """Decode and resize an image file; an unreadable one returns its error."""
        try:
            image.name.encode()
            height, width, _ = read_header(image.path)
            if height * width <= HUGE:
                return self.load(read_upright(image.path)[0], image.name)
            with self._huge:
                return self.load(read_upright(image.path)[0], image.name)
        except DataError as error:
            return error
        except UnicodeEncodeError:
            return DataError(f"photo {image.name!a} has a name that is not UTF-8; rename it")
        except OSError as error:  # no permission, or removed in the meantime
            return DataError(f"photo {image.path} cannot be read ({error.strerror}); check the file")


def _preview(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= PREVIEW:
        return pixels
    import cv2  # slow to import

    size = (max(1, width * PREVIEW // longest), max(1, height * PREVIEW // longest))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
