"""Images as people see them: turned and mirrored as their EXIF entry says, and label maps that fit them."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.file_rules import refusal
from fsbench.data.picture_file import LABEL_MAP, PictureHeader, is_turned, picture_header


def apply_orientation(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror an array (H, W, …) from the form in which it is stored as its EXIF orientation (1 to 8) says."""
    if not is_turned(orientation):
        return stored
    if orientation >= 5:
        stored = np.swapaxes(stored, 0, 1)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}
    return np.ascontiguousarray(np.flip(stored, flips[orientation]))


def fits_both_ways(image: Path, label_file: Path | None = None) -> bool:
    """Return whether a label map's size fits its image both as it is stored and turned by its EXIF entry.

    An EXIF entry of the label map's own file decides, and False is returned.
    """
    try:
        header = picture_header(image)
        if not is_turned(header.orientation) or header.shown_shape != header.stored_shape:
            return False
        return label_file is None or not is_turned(picture_header(label_file, LABEL_MAP).orientation)
    except DataError:  # whoever decodes it says what is wrong
        return False


def fit_labels(
    labels: np.ndarray,
    image: object,
    header: PictureHeader,
    label_file: Path | None = None,
    own: PictureHeader | None = None,
) -> np.ndarray:
    """Turn a user's label map, drawn on the image as stored or as shown upright, to the upright form (H, W).

    The label map's own EXIF entry tells on which form it was drawn; without an entry, its size tells. If both forms
    have the same size, the label map counts as drawn on the upright image.

    Args:
        labels: the label map (h, w).
        image, label_file: names or files, for messages.
        header, own: the headers of both files; `own` is None if the label map has no file.

    Raises:
        DataError: the label map has the size of neither form, or an EXIF entry that does not fit the image.
    """
    upright = header.shown_shape
    if own is not None and is_turned(own.orientation):
        turned = apply_orientation(labels, own.turn)
        untold = not is_turned(header.orientation) and own.stored_shape != upright
        if turned.shape != upright or not (untold or own.orientation == header.orientation):
            own_image = f"its image ({image}: entry {header.orientation})"
            raise refusal("turned_labels", f"label map {label_file}", own=own.orientation, image=own_image)
        return turned
    if labels.shape != upright and labels.shape == header.stored_shape:
        return apply_orientation(labels, header.orientation)
    if labels.shape != upright:
        raise unequal_sizes(image, upright, labels.shape, label_file)
    return labels


def check_sizes(image_file: Path, pixels: np.ndarray, labels: np.ndarray, label_file: Path | None = None) -> None:
    """Raise DataError, naming the files, if `labels` (H, W) and the image (H, W, 3) differ in size."""
    if labels.shape != pixels.shape[:2]:
        remark = exif_remark(image_file, labels.shape)
        raise unequal_sizes(image_file, pixels.shape[:2], labels.shape, label_file, remark)


def unequal_sizes(
    image: object, shape: tuple[int, ...], labels: tuple[int, ...], label_file: Path | None = None, remark: str = ""
) -> DataError:
    """Return the error for an image of height and width `shape` whose label map has another size."""
    source = f" {label_file}" if label_file else ""
    return DataError(
        f"image {image} is {shape[1]}x{shape[0]} pixels and its label map{source} {labels[1]}x{labels[0]}; expected "
        f"equal sizes (width x height){remark}; replace the wrong one by its original"
    )


def exif_remark(image: Path, labels: tuple[int, ...]) -> str:
    """Return a remark for an error if a label map's size (H, W) is that of the image after turning by EXIF; else ""."""
    with suppress(DataError):
        header = picture_header(image)
        if header.shown_shape == tuple(labels) != (header.height, header.width):
            return (
                "; the EXIF entry of the image turns it to the size of the label map, and this data set takes images "
                "as they are stored"
            )
    return ""
