"""The rules by which label maps become S x S, by name (fscs-protocol §6, fss-protocol §4, hmnet.md §11.3)."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F

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
    """
    scale = size / max(height, width)
    return int(height * scale), int(width * scale)


def letterboxed(planes: np.ndarray, size: int) -> np.ndarray:
    """Resize planes (C, H, W) to (C, h, w) of `letterbox_shape`, bilinear, without antialiasing (segic.md §2).

    The step between samples is the inverse of the factor, not the ratio of the sizes.

    Returns:
        float32.
    """
    scale = size / max(planes.shape[1:])
    given = torch.from_numpy(np.ascontiguousarray(planes, dtype=np.float32))[None]
    return F.interpolate(given, scale_factor=scale, mode="bilinear", align_corners=False)[0].numpy()


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
