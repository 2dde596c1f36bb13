"""PIL's bilinear filter on 8-bit RGB pixels as compiled loops, equal to it in every bit. Needs numba (extra "fast").

PIL computes in integers: weights are multiples of 2^-22, and each pass rounds to 8 bits. The same sums are made here in
the same integers, in an order that processors have wide instructions for, and colour planes are written directly.
"""

from functools import lru_cache

import numpy as np
from numba import njit

_BITS = 22  # of a weight; 8 of a pixel and two to spare make an int32
_HALF = np.int32(1 << (_BITS - 1))


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
    """(h, w) -> out (size, w): every output row is a weighted sum of rows."""
    sums = np.empty(pixels.shape[1], np.int32)
    for y in range(len(start)):
        sums[:] = _HALF
        for tap in range(weights.shape[1]):
            row, weight = pixels[start[y] + np.uint64(tap)], weights[y, tap]
            for x in range(len(row)):
                sums[x] += np.int32(row[x]) * weight
        for x in range(len(sums)):
            out[y, x] = sums[x] >> _BITS


@njit(cache=True, nogil=True)
def _filter_columns(pixels: np.ndarray, start: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """(h, 3·w), three colours side by side -> planes out (3, h, size)."""
    # Indices are unsigned, which spares a test for negative ones.
    green, blue, step = np.uint64(1), np.uint64(2), np.uint64(3)
    for y in range(len(pixels)):
        row = pixels[y]
        if weights.shape[1] == 2:  # whenever the image grows; two thirds of the time without the loop
            for x in range(len(start)):
                left, right, a, b = step * start[x], step * start[x] + step, weights[x, 0], weights[x, 1]
                out[0, y, x] = (np.int32(row[left]) * a + np.int32(row[right]) * b + _HALF) >> _BITS
                out[1, y, x] = (np.int32(row[left + green]) * a + np.int32(row[right + green]) * b + _HALF) >> _BITS
                out[2, y, x] = (np.int32(row[left + blue]) * a + np.int32(row[right + blue]) * b + _HALF) >> _BITS
            continue
        for x in range(len(start)):
            at, weight = step * start[x], weights[x]
            reds = greens = blues = _HALF
            for tap in range(len(weight)):
                reds += np.int32(row[at]) * weight[tap]
                greens += np.int32(row[at + green]) * weight[tap]
                blues += np.int32(row[at + blue]) * weight[tap]
                at += step
            out[0, y, x], out[1, y, x], out[2, y, x] = reds >> _BITS, greens >> _BITS, blues >> _BITS


def resize_planes(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize (h, w, 3) uint8 to planes (3, size, size) uint8: columns first, then rows."""
    height, width, _ = pixels.shape
    rows, columns = _windows(height, size), _windows(width, size)
    flat = np.ascontiguousarray(pixels).reshape(height, 3 * width)
    narrowed = np.empty((3, height, size), np.uint8)
    _filter_columns(flat, *columns, narrowed)
    planes = np.empty((3, size, size), np.uint8)
    for source, plane in zip(narrowed, planes, strict=True):
        _filter_rows(source, *rows, plane)
    return planes
