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
    """Return the bytes of the image that is embedded in a LabelMe file (key "imageData"); empty if there is none.

    Raises DataError if the embedded data cannot be decoded.

    Args:
        content: the parsed JSON of the file.
        file: the LabelMe file, for messages.
    """
    text = content.get("imageData") or ""
    try:
        return base64.b64decode(re.sub(r"^data:[\w/+.-]*;base64,", "", text))
    except (TypeError, ValueError) as error:
        raise refusal("labelme_picture_unusable", file, file=file, reason=one_line(error)) from error


def embedded_picture(embedded: bytes, labels: np.ndarray, file: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Decode the image embedded in a LabelMe file, and turn it and its labels upright.

    Args:
        embedded: bytes of the image file.
        labels: (h, w) label map drawn on the stored image.
        file: the LabelMe file, for messages.

    Returns:
        The image (H, W, 3) uint8, turned upright; the labels (H, W), turned alike; whether the image was compressed
        with loss.

    Raises:
        DataError: the image cannot be decoded, or has another size than the labels.
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
    """Turn labels drawn on the image embedded in a LabelMe file so that they fit the upright photo beside it.

    Args:
        picture: (h, w, 3) uint8, the embedded image: the photo upright, or as its file stores it before EXIF
            orientation.
        labels: (h, w) label map on `picture`.
        is_lossy: whether picture or photo was compressed with loss; if not, their pixels must be equal.
        photo: (H, W, 3) uint8, upright.
        orientation: EXIF orientation (1 to 8) that was applied to the photo.
        photo_file, file: the photo and the LabelMe file, for messages.

    Returns:
        The labels (H, W) on the upright photo.

    Raises:
        DataError: the picture is not the photo.
    """
    for turn in (1, orientation):
        turned = apply_orientation(picture, turn)
        if np.array_equal(turned, photo) or (is_lossy and is_same_picture(turned, photo)):
            return apply_orientation(labels, turn)
    raise refusal("labelme_picture_differs", file, file=file, photo=photo_file)


def is_same_picture(picture: np.ndarray, photo: np.ndarray) -> bool:
    """Return whether an image (h, w, 3) uint8 is the photo (H, W, 3) uint8, up to lossy compression.

    LabelMe embeds a photo as JPEG where it turns the photo or cannot embed its format. JPEG changes single pixels of a
    noisy photo much, but the mean colours of squares little. How much is allowed is measured on the photo itself, by
    compressing it as a JPEG of usual quality.
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
