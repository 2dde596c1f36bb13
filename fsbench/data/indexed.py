"""Images of a data set, in the form in which the data set takes them."""

from pathlib import Path

import numpy as np

from fsbench.data.dataset import ClassificationIndex, SegmentationIndex
from fsbench.data.image_io import read_view
from fsbench.data.orientation import apply_orientation, read_header


def image_orientation(index: SegmentationIndex | ClassificationIndex, name: str) -> int:
    """Return the EXIF orientation that image `name` is turned by; 1, which turns nothing, where the data set takes its
    images as they are stored.

    Raises DataError for a file that is no image.
    """
    return read_header(Path(index.image_path(name)))[2] if index.turns_images else 1


def image_pixels(index: SegmentationIndex | ClassificationIndex, name: str, short_lived: bool = False) -> np.ndarray:
    """Decode image `name` to pixels (H, W, 3) uint8.

    Args:
        index: the data set.
        name: the image.
        short_lived: the pixels are used up before this thread decodes another image, which may take their memory.

    Raises:
        DataError: the file cannot be decoded.
    """
    crop = None if isinstance(index, ClassificationIndex) else index.crop(name)
    stored = read_view(Path(index.image_path(name)), crop, short_lived)
    return apply_orientation(stored, image_orientation(index, name))
