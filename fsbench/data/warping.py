"""OpenCV's resizing and warping, the one home of `cv2.resize` and of its like.

From OpenCV 4.11 to 5.0, `cv2.resize` gives the same 8-bit numbers, nearest pixels and means over areas, and float32
that differs in its last bits (3e-5 of 255), less than what versions of torch round differently in a network.
`cv2.warpAffine` differs by up to 7 grey levels and in single labels: OpenCV 4 reads at places rounded to 1/32 of a
pixel, 5.0 at the places themselves. `warp` rounds as OpenCV 4, which the authors used, with every version.
"""

import cv2
import numpy as np

_BITS = 10
"""Binary digits of a place behind the point, as OpenCV 4 adds them up; it interpolates by the first 5 of them."""


def resize_by_opencv(pixels: np.ndarray, height: int, width: int, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Resize an array (h, w) or (h, w, 3) by OpenCV, by default bilinear without antialiasing."""
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation))


def scale(pixels: np.ndarray, factor: float, interpolation: int, out: np.ndarray | None = None) -> np.ndarray:
    """Resize an array (h, w, ...) by a factor with OpenCV; the result is written to `out` if that has its shape."""
    return np.asarray(cv2.resize(pixels, None, dst=out, fx=factor, fy=factor, interpolation=interpolation))


def warp(
    pixels: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    interpolation: int,
    corners: tuple[float, ...] = (),
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Move the pixels of an image by an affine matrix, bit for bit as `cv2.warpAffine` of OpenCV 4 does.

    Args:
        pixels: (h, w) or (h, w, channels).
        matrix: (2, 3), from positions (x, y) in the image to positions in the result.
        size: height and width of the result.
        interpolation: `cv2.INTER_LINEAR` or `cv2.INTER_NEAREST`.
        corners: values by channel for positions outside the image; 0 unless given.
        out: array to write the result to, if it has the result's shape.
    """
    linear = interpolation == cv2.INTER_LINEAR
    half = 16 if linear else 512
    across, down = np.arange(size[1]), np.arange(size[0])
    x, y = (
        (_steps(by_row * down + start) + half)[:, None] + _steps(by_column * across)
        for by_column, by_row, start in cv2.invertAffineTransform(matrix)
    )
    places = cv2.merge([(x >> _BITS).astype(np.int16), (y >> _BITS).astype(np.int16)])
    between = y.astype(np.uint16) & 31 << 5 | x.astype(np.uint16) >> 5 & 31 if linear else np.empty(0, np.uint16)
    return np.asarray(cv2.remap(pixels, places, between, interpolation, out, cv2.BORDER_CONSTANT, corners))


def _steps(places: np.ndarray) -> np.ndarray:
    return np.rint(places * 2**_BITS).astype(np.int32)
