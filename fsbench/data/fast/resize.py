"""PIL's bilinear filter on 8-bit RGB pixels as compiled loops, equal to it in every bit. Needs numba (extra "fast").

PIL computes in integers: weights are multiples of 2^-22, and each pass rounds to 8 bits. The same sums are made here in
the same integers, in an order that processors have wide instructions for.
"""

from functools import lru_cache

import cv2
import numpy as np
from numba import njit

from fsbench.data.fast.scratch import Scratch

_BITS = 22  # of a weight; 8 of a pixel and two to spare make an int32
_HALF = np.int32(1 << (_BITS - 1))
_scratch = Scratch()


@lru_cache(maxsize=4096)
def _windows(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For every output position, the first of T input positions (size,) and their weights (size, T) int32.

    A triangle as wide as an output pixel, at least as wide as an input pixel; its weights, in double precision, are
    divided by their sum and rounded.
    """
    scale = length / size
    reach = max(scale, 1.0)
    centre = (np.arange(size) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    taps = int((end - first).max())
    start = np.minimum(first, length - taps)  # windows at the border are moved inside and have zero weights
    position = start[:, None] + np.arange(taps)
    weight = np.maximum(1.0 - np.abs((position - centre[:, None] + 0.5) * (1.0 / reach)), 0.0)
    weight[(position < first[:, None]) | (position >= end[:, None])] = 0.0
    total = np.zeros(size)
    for tap in range(taps):  # one by one, as PIL adds them
        total += weight[:, tap]
    return start.astype(np.uint64), (weight / total[:, None] * (1 << _BITS) + 0.5).astype(np.int32)


@njit(cache=True, nogil=True)
def _filter_rows(pixels: np.ndarray, start: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """(h, w) -> out (size, w): every output row is a weighted sum of rows.

    The sums of two to four rows are written out, which takes half of the time.
    """
    sums = np.empty(pixels.shape[1], np.int32)
    for y in range(len(start)):
        first, weight, target = start[y], weights[y], out[y]
        if len(weight) == 2:
            a, b = pixels[first], pixels[first + np.uint64(1)]
            i, j = weight[0], weight[1]  # outside of the loop: `target` might overlap them, for all the compiler knows
            for x in range(len(target)):
                target[x] = (np.int32(a[x]) * i + np.int32(b[x]) * j + _HALF) >> _BITS
        elif len(weight) == 3:
            a, b, c = pixels[first], pixels[first + np.uint64(1)], pixels[first + np.uint64(2)]
            i, j, k = weight[0], weight[1], weight[2]
            for x in range(len(target)):
                target[x] = (np.int32(a[x]) * i + np.int32(b[x]) * j + np.int32(c[x]) * k + _HALF) >> _BITS
        elif len(weight) == 4:
            a, b = pixels[first], pixels[first + np.uint64(1)]
            c, d = pixels[first + np.uint64(2)], pixels[first + np.uint64(3)]
            i, j, k, m = weight[0], weight[1], weight[2], weight[3]
            for x in range(len(target)):
                upper, lower = np.int32(a[x]) * i + np.int32(b[x]) * j, np.int32(c[x]) * k + np.int32(d[x]) * m
                target[x] = (upper + lower + _HALF) >> _BITS
        else:
            sums[:] = _HALF
            for tap in range(len(weight)):
                row, i = pixels[first + np.uint64(tap)], weight[tap]
                for x in range(len(row)):
                    sums[x] += np.int32(row[x]) * i
            for x in range(len(sums)):
                target[x] = sums[x] >> _BITS


def resize_planes(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize (h, w, 3) uint8 to planes (3, size, size) uint8: columns first, then rows.

    Columns are filtered as rows of the transposed image, so that neighbours in memory have the same weights. Each step
    reads what the one before wrote, so two arrays take turns.
    """
    height, width, _ = pixels.shape
    turned = cv2.transpose(pixels, _scratch.array("even", (width, height, 3)))
    narrowed = _scratch.array("odd", (size, height, 3))
    _filter_rows(turned.reshape(width, 3 * height), *_windows(width, size), narrowed.reshape(size, 3 * height))
    upright = cv2.transpose(narrowed, _scratch.array("even", (height, size, 3)))
    square = _scratch.array("odd", (size, size, 3))
    _filter_rows(upright.reshape(height, 3 * size), *_windows(height, size), square.reshape(size, 3 * size))
    planes = np.empty((3, size, size), np.uint8)
    cv2.split(square, list(planes))
    return planes
