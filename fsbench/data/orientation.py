"""Images as people see them: turned and mirrored as their EXIF entry says, and label maps that fit them."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.dataset import ClassificationIndex, SegmentationIndex
from fsbench.data.image_io import open_image_file, read_pixels

_ORIENTATION_TAG = 0x0112


def read_header(path: Path) -> tuple[int, int, int]:
    """Read the stored height, the stored width and the EXIF orientation from the start of an image file.

    Raises:
        DataError: the file is no image, or has too many pixels.
    """
    with open_image_file(path, "photo", decode=False) as image:
        return image.height, image.width, _exif_orientation(image)


def _exif_orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # PIL tells its size as turned, and turns it while it decodes
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # PIL raises many kinds; a damaged entry is no reason to refuse the image
        return 1


def read_upright(path: Path) -> tuple[np.ndarray, int]:
    """Decode an image as a viewer shows it.

    Returns:
        Pixels (H, W, 3) uint8, and the EXIF orientation that was applied.

    Raises:
        DataError: the file cannot be decoded; the message names it.
    """
    orientation = read_header(path)[2]
    return apply_orientation(read_pixels(path), orientation), orientation


def image_orientation(index: SegmentationIndex | ClassificationIndex, name: str) -> int:
    """Return the EXIF orientation that image `name` is turned by; 1, which turns nothing, where the data set takes its
    images as they are stored.

    Raises DataError for a file that is no image.
    """
    return read_header(Path(index.image_path(name)))[2] if index.turns_images else 1


def image_pixels(index: SegmentationIndex | ClassificationIndex, name: str) -> np.ndarray:
    """Decode image `name` of a data set to pixels (H, W, 3) uint8, in the form in which the data set takes it.

    Raises DataError for a file that cannot be decoded.
    """
    if not index.images_are_files and isinstance(index, SegmentationIndex):
        return index.pixels(name)
    pixels = read_pixels(Path(index.image_path(name)))
    crop = None if isinstance(index, ClassificationIndex) else index.crop(name)
    if crop is not None:
        pixels = np.ascontiguousarray(pixels[crop])
    return apply_orientation(pixels, image_orientation(index, name))


def image_intensities(index: SegmentationIndex, name: str) -> np.ndarray:
    """Return image `name` as the data set measured it, (H, W) float32 and normalised; of photos (H, W, 3) uint8.

    Raises DataError for a file that cannot be decoded.
    """
    measured = index.intensities(name)
    return image_pixels(index, name) if measured is None else measured


def apply_orientation(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror an array (H, W, …) from its stored form to its EXIF orientation (1 to 8)."""
    if not is_turned(orientation):
        return stored
    if orientation >= 5:
        stored = np.swapaxes(stored, 0, 1)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}
    return np.ascontiguousarray(np.flip(stored, flips[orientation]))


def is_turned(orientation: int) -> bool:
    """Return whether an EXIF orientation turns or mirrors an image; entries that EXIF does not know leave it."""
    return 2 <= orientation <= 8


def upright_shape(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Return height and width of an image as a viewer shows it, from those that are stored."""
    return (width, height) if 5 <= orientation <= 8 else (height, width)


def fits_both_ways(image: Path) -> bool:
    """Return whether the size of a label map leaves open if it was drawn on the turned or on the stored image."""
    try:
        height, width, orientation = read_header(image)
    except DataError:  # whoever decodes it says what is wrong
        return False
    return is_turned(orientation) and upright_shape(height, width, orientation) == (height, width)


def fit_labels(labels: np.ndarray, image: Path, label_file: Path | None = None) -> np.ndarray:
    """Return a label map (h, w), drawn on the upright or on the stored form of an image, in its upright form (H, W).

    Its size tells the form; where both have one size (`fits_both_ways`) it is taken as drawn on the upright one. This
    is the rule for people's own files. With an image that cannot be read it comes back as it is: whoever decodes the
    image says what is wrong.

    Raises:
        DataError: it has the size of neither.
    """
    try:
        height, width, orientation = read_header(image)
    except DataError:
        return labels
    upright = upright_shape(height, width, orientation)
    if labels.shape != upright and labels.shape == (height, width):
        return apply_orientation(labels, orientation)
    if labels.shape != upright:
        raise _unequal_sizes(image, upright, labels.shape, label_file)
    return labels


def check_sizes(image_file: Path, pixels: np.ndarray, labels: np.ndarray, label_file: Path | None = None) -> None:
    """Raise DataError, naming the files, unless `labels` (H, W) is as large as the image `pixels` (H, W, 3)."""
    if labels.shape != pixels.shape[:2]:
        raise _unequal_sizes(image_file, pixels.shape[:2], labels.shape, label_file)


def _unequal_sizes(
    image: Path, shape: tuple[int, ...], labels: tuple[int, ...], label_file: Path | None = None
) -> DataError:
    source = f" {label_file}" if label_file else ""
    return DataError(
        f"image {image} is {shape[1]}x{shape[0]} pixels and its label map{source} {labels[1]}x{labels[0]}; expected "
        f"equal sizes (width x height){exif_remark(image, labels)}; replace the wrong one by its original"
    )


def exif_remark(image: Path, labels: tuple[int, ...]) -> str:
    """Return a remark where the size (H, W) of a label map is that of the image as its EXIF entry turns it; else ""."""
    with suppress(DataError):
        height, width, orientation = read_header(image)
        if upright_shape(height, width, orientation) == tuple(labels) != (height, width):
            return (
                "; the EXIF entry of the image turns it to the size of the label map, and this data set takes images "
                "as they are stored"
            )
    return ""
