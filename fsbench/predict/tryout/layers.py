"""Layers of the page: an image and its masks, as files that a browser shows.

Shapes: (H, W) the upright image, (h, w) its preview.
"""

from io import BytesIO

import numpy as np
from PIL import Image

from fsbench.data.label_maps import resize_labels
from fsbench.predict.result import palette
from fsbench.results.pictures.masks import outline
from fsbench.results.pictures.palette import DARK_LINE

LONGEST_SIDE = 1600
"""Longest side of what is sent, in pixels."""
OPACITY = 110


def image_jpeg(pixels: np.ndarray) -> bytes:
    """Return an image (H, W, 3) uint8 as a JPEG of at most `LONGEST_SIDE` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    return _encode(image, "JPEG", quality=90)


def labels_png(labels: np.ndarray) -> bytes:
    """Return a label map (H, W) uint8 as a translucent PNG in the colors of the classes."""
    height, width = labels.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    labels = resize_labels(labels, max(1, round(height * scale)), max(1, round(width * scale)))
    pixels = np.zeros((*labels.shape, 4), dtype=np.uint8)
    pixels[..., :3] = palette()[labels]
    pixels[..., 3] = np.where(labels > 0, OPACITY, 0)
    inner, outer = outline(labels, 1)  # a light and a dark line, which together are seen on any image
    pixels[inner > 0, 3] = 255
    pixels[outer > 0] = (*DARK_LINE, 255)
    return _encode(Image.fromarray(pixels), "PNG", compress_level=1)


def _encode(image: Image.Image, form: str, **options: int) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
