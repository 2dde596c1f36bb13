"""The rules by which label maps become S x S, by name (fscs-protocol §6, fss-protocol §4, hmnet.md §11.3)."""

from collections.abc import Callable, Mapping

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.dataset import VOID
from fsbench.data.frames import frame_labels, frame_shape
from fsbench.data.label_maps import resize_labels, resize_labels_cv2, resize_labels_pil


def padded_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of an image inside a square of `size` pixels (hmnet.md §2.4.5).

    The longer side becomes `size` and the other one keeps the aspect ratio, rounded down; then both are rounded down to
    multiples of 8, at least 8.
    """
    ratio = size / max(height, width)
    inner = (size, int(width * ratio)) if height >= width else (int(height * ratio), size)
    return max(inner[0] // 8 * 8, 8), max(inner[1] // 8 * 8, 8)


def letterbox_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of an image inside a square of `size` pixels by a factor of both (segic.md §2).

    Both are rounded down, so that the longer side may become `size` - 1.

    >>> letterbox_shape(111, 70, 112), letterbox_shape(45, 60, 112)
    ((111, 70), (84, 112))

    Raises:
        DataError: the shorter side would have no pixel.
    """
    scale = size / max(height, width)
    if min(height, width) * scale < 1:
        raise DataError(
            f"an image of {height} x {width} pixels leaves nothing of its shorter side in a square of {size}; expected "
            f"a side of 1/{size} of the other or more; leave the image out"
        )
    return int(height * scale), int(width * scale)


def letterboxed(planes: np.ndarray, size: int) -> np.ndarray:
    """Resize planes (C, H, W) to (C, h, w) of `letterbox_shape`, bilinear, without antialiasing (segic.md §2).

    The step between samples is the inverse of the factor, not the ratio of the sizes. Places and weights are rounded
    to float32 as torch rounds them, which this module does without.

    Returns:
        float32.
    """
    height, width = planes.shape[1:]
    rows, columns = letterbox_shape(height, width, size)
    if (rows, columns) == (height, width):  # torch copies then, though the factor may be above 1: 111 in 112
        return planes.astype(np.float32)
    step = np.float32(max(height, width) / size)
    top, bottom, down = _neighbours(height, rows, step)
    left, right, across = _neighbours(width, columns, step)
    given = planes.astype(np.float32)
    upper, lower = (
        (1 - across) * given[:, line][:, :, left] + across * given[:, line][:, :, right] for line in (top, bottom)
    )
    return np.asarray((1 - down)[:, None] * upper + down[:, None] * lower)


def _neighbours(length: int, count: int, step: np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels (count,) before and after each sample on a line of `length`, and the weight of the latter."""
    place = np.maximum(step * (np.arange(count, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    before = np.minimum(place.astype(np.int64), length - 1)
    return before, np.minimum(before + 1, length - 1), (place - before).astype(np.float32)


def letterbox_labels(labels: np.ndarray, size: int) -> np.ndarray:
    """Resize a label map (H, W) as a mask of each label, which has the pixels above a half; void outside of it.

    A pixel above a half in no mask is background.
    """
    canvas = np.full((size, size), VOID, dtype=np.uint8)
    height, width = letterbox_shape(labels.shape[0], labels.shape[1], size)
    inside = np.zeros((height, width), np.uint8)
    present = [label for label in np.unique(labels).tolist() if label]
    if present:
        masks = letterboxed(np.stack([labels == label for label in present]), size)
        for label, mask in zip(present, masks, strict=True):
            inside[mask > 0.5] = label
    canvas[:height, :width] = inside
    return canvas


def image_part(height: int, width: int, size: int, resize: str) -> tuple[int, int]:
    """Return height and width of the part, at the top left, that an image fills in its square of `size` pixels.

    Args:
        height, width: of the image.
        size: side of the square.
        resize: rule of `LABEL_RESIZES` by which the image got into it.
    """
    if resize == "frame":
        return frame_shape(height, width, size)
    if resize == "letterbox":
        return letterbox_shape(height, width, size)
    return padded_shape(height, width, size) if resize == "padded" else (size, size)


def resize_labels_padded(labels: np.ndarray, size: int) -> np.ndarray:
    """Resize a label map (h, w) as `resize_padded` does its image, by OpenCV's nearest; void outside of it."""
    height, width = padded_shape(labels.shape[0], labels.shape[1], size)
    canvas = np.full((size, size), VOID, dtype=np.uint8)
    canvas[:height, :width] = resize_labels_cv2(labels, height, width)
    return canvas


LABEL_RESIZES: Mapping[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "pil": resize_labels,
    "pil_both": resize_labels_pil,
    "cv2": resize_labels_cv2,
    "frame": frame_labels,
    "padded": lambda labels, side, _: resize_labels_padded(labels, side),
    "bicubic": resize_labels_pil,
    "letterbox": lambda labels, side, _: letterbox_labels(labels, side),
}
"""`Protocol.resize`, or a method's own choice -> how label maps (h, w) become (S, S)."""
