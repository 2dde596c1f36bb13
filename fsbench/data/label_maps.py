"""Label maps brought to other sizes and numbers as the protocols do it: without torch and without OpenCV.

Their images follow in `fsbench.data.transforms`, by rules of the same names. Shapes: (H, W) an image, S the side of a
square, (h, w) the part of the square, at its top left, that an image fills.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import ceil

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.dataset import VOID
from fsbench.data.resizing import resize_by_pil


def way_labels(labels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Replace class numbers by ways, uint8: the n-th of `classes` becomes n, void stays 255, all others 0."""
    slots = np.zeros(256, dtype=np.uint8)
    slots[list(classes)] = np.arange(1, len(classes) + 1)
    slots[VOID] = VOID
    if labels.dtype != np.uint8:
        return slots.take(labels)
    named = bytearray(labels.tobytes()).translate(slots.tobytes())  # a fifth of the time of numpy's take
    return np.frombuffer(named, dtype=np.uint8).reshape(labels.shape)


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) to (height, width), nearest with source index floor(i · in/out) in float32.

    This is torch's `interpolate(mode="nearest")`; the product is rounded to float32, which differs from the exact
    integer quotient for some sizes (fss-protocol §4).
    """
    return _pixels(labels, height, width, _torch_index)


@lru_cache(maxsize=4096)
def _torch_index(length: int, size: int) -> np.ndarray:
    scale = np.float32(length) / np.float32(size)
    index = np.floor(np.arange(size, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(index, length - 1)


def resize_labels_cv2(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) to (height, width) by OpenCV's nearest (source index floor(i · in/out) in double)."""
    return _pixels(labels, height, width, _opencv_index)


@lru_cache(maxsize=4096)
def _opencv_index(length: int, size: int) -> np.ndarray:
    index = np.floor(np.arange(size) * (1 / (size / length))).astype(np.int64)  # OpenCV divides twice
    return np.minimum(index, length - 1)


def stretch(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a square label map (side, side), padding included, to `size` (h, w) by torch's `nearest-exact`."""
    return _pixels(labels, *size, _exact_index)


@lru_cache(maxsize=4096)
def _exact_index(length: int, size: int) -> np.ndarray:
    """Return floor(scale · (i + 1/2) - 1/2 + 1/2) for i in 0..size, at least 0 and below `length`.

    torch computes it in float32 and rounds once before 1/2 is added, as its kernels multiply and subtract in one step.
    """
    scale = float(np.float32(length) / np.float32(size))
    place = (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)
    return np.clip(np.floor(place + np.float32(0.5)).astype(np.int64), 0, length - 1)


def _pixels(labels: np.ndarray, height: int, width: int, index: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """Return (height, width) pixels of a label map: along each axis those that `index(length, size)` names."""
    return labels.take(index(labels.shape[0], height), axis=0).take(index(labels.shape[1], width), axis=1)


def resize_labels_pil(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) to (height, width) by PIL's nearest, which samples at pixel centres."""
    return resize_by_pil(labels, height, width, Image.Resampling.NEAREST)


def resize_labels_linear(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a label map (h, w) uint8 to (height, width), each label's mask bilinearly as OpenCV does 8-bit numbers.

    A pixel gets a label if the resized mask of 0 and 1 rounds to 1 there (the largest label if several do), else it is
    background (skin-ds.md §1).
    """
    resized = np.zeros((height, width), np.uint8)
    for label in (label for label in np.unique(labels).tolist() if label):
        resized[_bilinear_bytes(labels == label, height, width) > 0] = label
    return resized


def _bilinear_bytes(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize values (h, w) as `cv2.resize` does uint8 with INTER_LINEAR: weights of 11 bits, sums cut twice."""
    rows, columns = values.shape
    left, right, own, other = _byte_weights(columns, width, at_edges=False)
    across = values[:, left] * own + values[:, right] * other
    top, bottom, own, other = _byte_weights(rows, height, at_edges=True)
    upper, lower = ((weight[:, None] * (across[line] >> 4)) >> 16 for line, weight in ((top, own), (bottom, other)))
    return (upper + lower + 2) >> 2


@lru_cache(maxsize=4096)
def _byte_weights(length: int, size: int, at_edges: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels (size,) before and after each sample on a line, and their weights in 1/2048.

    Args:
        length: number of pixels of the line.
        size: number of samples.
        at_edges: whether samples beyond the line's ends weigh the last pixel twice; OpenCV does so for rows, which
            rounds otherwise.
    """
    place = ((np.arange(size) + 0.5) * (1 / (size / length)) - 0.5).astype(np.float32)
    before = np.floor(place).astype(np.int64)
    share = place - before.astype(np.float32)
    if not at_edges:
        share[(before < 0) | (before >= length - 1)] = 0
        before = before.clip(0, length - 1)
    weights = (np.rint(one * np.float32(2048)).astype(np.int64) for one in (1 - share, share))
    return before.clip(0, length - 1), (before + 1).clip(0, length - 1), *weights


def frame_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of an image in a square frame: the longer side is `size`, the other is rounded.

    Protocols with a frame compare prediction and truth on the whole square, stretched to the query's size: padding
    counts as background, and the image is squashed (fssdino.md §3, §5).
    """
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def padded_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of an image inside a padded square of `size` pixels, as HMNet's authors resize it.

    The longer side becomes `size` and the other keeps the aspect ratio, rounded down; then both are rounded down to
    multiples of 8, at least 8 (hmnet.md §2.4.5).
    """
    ratio = size / max(height, width)
    inner = (size, int(width * ratio)) if height >= width else (int(height * ratio), size)
    return max(inner[0] // 8 * 8, 8), max(inner[1] // 8 * 8, 8)


def letterbox_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of an image scaled by one factor so that its longer side fits into `size` (segic.md §2).

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


_SHAPES = {"frame": frame_shape, "padded": padded_shape, "letterbox": letterbox_shape}


def image_part(height: int, width: int, size: int, resize: str) -> tuple[int, int]:
    """Return height and width of the part, at the top left of a square, that a resized image fills.

    Args:
        height, width: size of the image.
        size: side of the square.
        resize: name of the rule in `LABEL_RESIZES` by which the image is resized.
    """
    return _SHAPES[resize](height, width, size) if resize in _SHAPES else (size, size)


def _in_square(inner: np.ndarray, size: int) -> np.ndarray:
    """Return the label map (h, w) at the top left of a square (S, S) uint8, which is void outside of it."""
    square = np.full((size, size), VOID, dtype=np.uint8)
    square[: inner.shape[0], : inner.shape[1]] = inner
    return square


def frame_labels(labels: np.ndarray, size: int) -> np.ndarray:
    """Resize a label map (H, W) uint8 into the top left of a void square (S, S), longer side S, by OpenCV's nearest."""
    return _in_square(resize_labels_cv2(labels, *frame_shape(labels.shape[0], labels.shape[1], size)), size)


def resize_labels_padded(labels: np.ndarray, size: int) -> np.ndarray:
    """Resize a label map (H, W) uint8 to `padded_shape`, at the top left of a void square (S, S), nearest pixel."""
    return _in_square(resize_labels_cv2(labels, *padded_shape(labels.shape[0], labels.shape[1], size)), size)


def letterbox_labels(labels: np.ndarray, size: int) -> np.ndarray:
    """Resize a label map (H, W) uint8 by one factor into a void square (S, S), each label's mask bilinearly.

    A pixel gets a label whose resized mask is above 0.5 (the largest label if several are), else it is background.
    """
    inside = np.zeros(letterbox_shape(labels.shape[0], labels.shape[1], size), np.uint8)
    present = [label for label in np.unique(labels).tolist() if label]
    if present:
        masks = letterboxed(np.stack([labels == label for label in present]), size)
        for label, mask in zip(present, masks, strict=True):
            inside[mask > 0.5] = label
    return _in_square(inside, size)


def letterboxed(planes: np.ndarray, size: int) -> np.ndarray:
    """Resize planes (C, H, W) by one factor into a square of side `size`, bilinearly and without antialiasing.

    The step between samples is the inverse of the factor, not the ratio of the sizes, and all arithmetic is in float32
    as in torch (segic.md §2).

    Returns:
        (C, h, w) float32, where (h, w) is `letterbox_shape` of the planes; without padding.
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


def stretch_truth(labels: np.ndarray, size: int) -> np.ndarray:
    """Return a label map (H, W) uint8 after resizing it into a padded square and stretching the square back to (H, W).

    Padding becomes background. Protocols with a square frame compare predictions with this map.
    """
    framed = frame_labels(labels, size)
    framed[framed == VOID] = 0
    return stretch(framed, (labels.shape[0], labels.shape[1]))


def over_image(labels: np.ndarray, size: int | None) -> np.ndarray:
    """Cut the padding from a label map (H, W) that was stretched from a square frame, and resize the rest to (H, W).

    Args:
        labels: the label map, of the image's size (H, W).
        size: side of the frame; None if the label map has no padding and is returned unchanged.
    """
    if size is None:
        return labels
    height, width = labels.shape
    rows, columns = (
        ceil(side * part / size) for side, part in zip(labels.shape, frame_shape(height, width, size), strict=True)
    )
    return resize_labels(labels[:rows, :columns], height, width)


LABEL_RESIZES: Mapping[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "pil": resize_labels,
    "pil_both": resize_labels_pil,
    "cv2": resize_labels_cv2,
    "cv2_linear": resize_labels_linear,
    "frame": lambda labels, size, _: frame_labels(labels, size),
    "padded": lambda labels, size, _: resize_labels_padded(labels, size),
    "bicubic": resize_labels_pil,
    "letterbox": lambda labels, size, _: letterbox_labels(labels, size),
    "prepared": resize_labels,
    "intensities": resize_labels,
    "measured": resize_labels,
}
"""`Protocol.resize`, or a method's own choice -> how label maps (H, W) become (S, S), the side given twice
(fscs-protocol §6, fss-protocol §4, hmnet.md §11.3)."""
