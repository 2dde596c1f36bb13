"""The picture that a LabelMe file holds itself (`imageData`), on which its shapes were drawn, and the photo."""

import base64
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.base.files.images import open_image
from fsbench.data.file_rules import refusal
from fsbench.data.image_io import read_photo
from fsbench.data.orientation import apply_orientation, fit_labels
from fsbench.data.picture_file import one_line

_SIDE = 16
"""Side in pixels of the squares whose mean colours are compared; JPEG keeps colours of squares of this size."""
_LEAST_DIFFERENCE = 8
"""Difference of mean colours, of 256, that is none in any case."""


def embedded_file(content: dict[str, Any], file: Path) -> bytes:
    """Return the image file embedded in a LabelMe file; empty if there is none.

    Raises DataError if it is damaged.
    """
    text = content.get("imageData") or ""
    try:
        return base64.b64decode(re.sub(r"^data:[\w/+.-]*;base64,", "", text))
    except (TypeError, ValueError) as error:
        raise refusal("labelme_picture_unusable", file, file=file, reason=one_line(error)) from error


def embedded_picture(embedded: bytes, labels: np.ndarray, file: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Decode the image embedded in a LabelMe file.

    Args:
        embedded: as of `embedded_file`.
        labels: (h, w), drawn on it.
        file: the LabelMe file.

    Returns:
        Its pixels (H, W, 3) uint8, upright, the labels (H, W) in the same form, and whether the pixels are lossy.

    Raises:
        DataError: it cannot be decoded, or has another size than the labels.
    """
    try:
        pixels, header = read_photo(embedded, "imageData")
        fitted = fit_labels(labels, "imageData", header, file)
    except DataError as error:
        reason = str(error).partition(";")[0]
        raise refusal("labelme_picture_unusable", file, file=file, reason=reason) from error
    return apply_orientation(pixels, header.turn), fitted, header.is_lossy


def labels_on_photo(
    picture: np.ndarray,
    labels: np.ndarray,
    is_lossy: bool,
    photo: np.ndarray,
    orientation: int,
    photo_file: Path,
    file: Path,
) -> np.ndarray:
    """Turn labels drawn on the image embedded in a LabelMe file to the form of its photo.

    Args:
        picture: (h, w, 3) uint8: the upright photo, or its stored form.
        labels: (h, w).
        is_lossy: whether picture or photo were compressed with loss; else they have the same pixels.
        photo: (H, W, 3) uint8, upright.
        orientation: EXIF orientation that was applied to the photo.
        photo_file, file: the photo's and the LabelMe file.

    Raises:
        DataError: the picture is not the photo.
    """
    for turn in (1, orientation):
        turned = apply_orientation(picture, turn)
        if np.array_equal(turned, photo) or (is_lossy and is_same_picture(turned, photo)):
            return apply_orientation(labels, turn)
    raise refusal("labelme_picture_differs", file, file=file, photo=photo_file)


def is_same_picture(picture: np.ndarray, photo: np.ndarray) -> bool:
    """Return whether an image (h, w, 3) shows the same as a photo (H, W, 3), up to lossy compression.

    LabelMe embeds a photo as JPEG where it turns the photo or cannot embed its format. JPEG changes single pixels of a
    noisy photo at will, but hardly the mean colour of a square; by how much depends on the photo, so that the measure
    is the photo's own JPEG of usual quality.
    """
    if picture.shape != photo.shape:
        return False
    part = photo[:2048, :2048]  # enough to tell how noisy it is
    coded = BytesIO()
    Image.fromarray(part).save(coded, "JPEG")
    with open_image(coded.getvalue()) as image:
        loss = _difference(np.asarray(image), part)
    return _difference(picture, photo) <= _LEAST_DIFFERENCE + 2 * loss


def _difference(first: np.ndarray, second: np.ndarray) -> int:
    """Return the largest difference of the mean colours of squares of two images (H, W, 3) uint8."""
    means = [np.asarray(Image.fromarray(pixels).reduce(_SIDE), dtype=int) for pixels in (first, second)]
    return int(np.abs(means[0] - means[1]).max())
