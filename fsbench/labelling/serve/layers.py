"""Layers of the page: the image, the labels and the prediction, as files that a browser shows.

Shapes: (H, W) the upright image, (h, w) its preview.
"""

from io import BytesIO

import numpy as np
from PIL import Image

from fsbench.data.transforms import resize_labels
from fsbench.predict.result import palette
from fsbench.visualization.palette import DARK_LINE

LONGEST_SIDE = 1600
"""Longest side of what is sent, in pixels."""
THUMBNAIL_SIDE = 96
"""Longest side of a picture in the list of images, in pixels."""
LABELS_OPACITY = 110
PREDICTION_OPACITY = 90
CLICKED_OPACITY = 150
STRIPE = 4
"""Width of the stripes of a prediction, in pixels of the preview: they tell it from labels of the same color."""


def preview_size(size: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width at which an image of `size` (H, W) is shown."""
    height, width = size[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def image_jpeg(pixels: np.ndarray) -> bytes:
    """Return an image (H, W, 3) uint8 as a JPEG of at most `LONGEST_SIDE` pixels."""
    height, width = preview_size(pixels.shape)
    image = Image.fromarray(pixels)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BOX)
    return _encode(image, "JPEG", quality=90)


def thumbnail_jpeg(pixels: np.ndarray) -> bytes:
    """Return an image (H, W, 3) uint8 as a JPEG of at most `THUMBNAIL_SIDE` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return _encode(image, "JPEG", quality=80)


def labels_png(labels: np.ndarray) -> bytes:
    """Return a label map (H, W) uint8 as a translucent PNG in the colors of the classes."""
    return _draw_layer(resize_labels(labels, *preview_size(labels.shape)), LABELS_OPACITY, striped=False)


def prediction_png(labels: np.ndarray) -> bytes:
    """Return a predicted label map (H, W) uint8 as a translucent PNG in stripes."""
    return _draw_layer(resize_labels(labels, *preview_size(labels.shape)), PREDICTION_OPACITY, striped=True)


def click_mask_png(mask: np.ndarray, number: int) -> bytes:
    """Return the mask (H, W) bool of clicks as a translucent PNG in the color of the class `number`."""
    labels = np.where(mask, number, 0).astype(np.uint8)
    return _draw_layer(resize_labels(labels, *preview_size(labels.shape)), CLICKED_OPACITY, striped=False)


def _draw_layer(labels: np.ndarray, opacity: int, striped: bool) -> bytes:
    pixels = np.zeros((*labels.shape, 4), dtype=np.uint8)
    pixels[..., :3] = palette()[labels]
    pixels[..., 3] = np.where(labels > 0, opacity, 0)
    if striped:
        y, x = np.indices(labels.shape)
        pixels[..., 3][(x + y) // STRIPE % 2 == 1] //= 4
    inner, outer = _outlines(labels)
    pixels[inner, 3] = 255
    pixels[outer] = (*DARK_LINE, 255)
    return _encode(Image.fromarray(pixels), "PNG", compress_level=1)


def _outlines(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labeled pixels beside another label, and the unlabeled ones beside a label, both (h, w) bool: a light
    and a dark line, which together are seen on any image."""
    import cv2  # slow to import

    window = np.ones((3, 3), dtype=np.uint8)
    highest, lowest = cv2.dilate(labels, window), cv2.erode(labels, window)
    return (labels > 0) & (highest != lowest), (labels == 0) & (highest > 0)


def _encode(image: Image.Image, form: str, **options: int) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
