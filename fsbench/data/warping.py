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
    """Resize (h, w) or (h, w, 3) by OpenCV, by default linear without antialiasing."""
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation))


def scale(pixels: np.ndarray, factor: float, interpolation: int, out: np.ndarray | None = None) -> np.ndarray:
    """Resize (h, w, ...) by `factor`, into `out` where that has the shape of the result."""
    return np.asarray(cv2.resize(pixels, None, dst=out, fx=factor, fy=factor, interpolation=interpolation))


def warp(
    pixels: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    interpolation: int,
    corners: tuple[float, ...] = (),
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Move the pixels of an image by an affine matrix, as `cv2.warpAffine` of OpenCV 4 does, to the bit.

    Args:
        pixels: (h, w) or (h, w, channels).
        matrix: (2, 3), from places (x, y) of the image to places of the result.
        size: height and width of the result.
        interpolation: `cv2.INTER_LINEAR` or `cv2.INTER_NEAREST`.
        corners: values of what lies outside the image, by channel; 0 unless given.
        out: takes the result where it has its shape.
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
