"""The rules by which label maps become S x S, by name (fscs-protocol §6, fss-protocol §4, hmnet.md §11.3)."""

from collections.abc import Callable, Mapping

import numpy as np

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


def image_part(height: int, width: int, size: int, resize: str) -> tuple[int, int]:
    """Return height and width of the part, at the top left, that an image fills in its square of `size` pixels.

    Args:
        height, width: of the image.
        size: side of the square.
        resize: rule of `LABEL_RESIZES` by which the image got into it.
    """
    if resize == "frame":
        return frame_shape(height, width, size)
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
}
"""`Protocol.resize`, or a method's own choice -> how label maps (h, w) become (S, S)."""
