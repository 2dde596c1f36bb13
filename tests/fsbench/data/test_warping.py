"""Warps are those of OpenCV 4, by plain arithmetic; OpenCV 5 alone would read between its places."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from fsbench.data.warping import warp

FILL = (10.0, 20.0, 30.0)


def places(inverse: np.ndarray, row: int, column: int, steps: int) -> list[int]:
    """The place (x, y) in an image that a pixel of the result is read at, in whole `steps` of a pixel."""
    sums = [round((b * row + c) * 1024) + round(a * column * 1024) for a, b, c in inverse.tolist()]
    return [(total + 512 // steps) // (1024 // steps) for total in sums]


def plain_warp(pixels: np.ndarray, matrix: np.ndarray, size: Sequence[int], linear: bool) -> np.ndarray:
    """(h, w, 3) -> (*size, 3) float64, pixel by pixel."""
    inverse = cv2.invertAffineTransform(matrix)
    height, width = pixels.shape[:2]

    def pixel(x: int, y: int) -> np.ndarray:
        return pixels[y, x] if 0 <= x < width and 0 <= y < height else np.array(FILL)

    found = np.zeros((*size, 3))
    for row, column in np.ndindex(*size):
        x, y = places(inverse, row, column, 32 if linear else 1)
        if not linear:
            found[row, column] = pixel(x, y)
            continue
        (x, right), (y, down) = divmod(x, 32), divmod(y, 32)
        upper, lower = ((32 - right) * pixel(x, line) + right * pixel(x + 1, line) for line in (y, y + 1))
        found[row, column] = ((32 - down) * upper + down * lower) / 1024
    return found


@pytest.mark.parametrize("angle", [-9.3, 0.0, 2.7, 8.8])
def test_rotations_are_those_of_opencv_4(angle: float) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (31, 47, 3)).astype(np.float32)
    matrix = cv2.getRotationMatrix2D((23.5, 15.5), angle, 1)
    for size in ((31, 47), (20, 50)):
        found = warp(pixels, matrix, size, cv2.INTER_LINEAR, FILL)
        np.testing.assert_allclose(found, plain_warp(pixels, matrix, size, linear=True), atol=1e-4)
        found = warp(pixels.astype(np.uint8), matrix, size, cv2.INTER_NEAREST, FILL)
        assert np.array_equal(found, plain_warp(pixels, matrix, size, linear=False))


def test_shifts_leave_black_corners_and_fill_what_is_given() -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) + 1
    matrix, out = np.array([[1.0, 0, 1], [0, 1, -1]]), np.empty((3, 4), np.uint8)
    assert warp(labels, matrix, (3, 4), cv2.INTER_NEAREST, out=out) is out
    assert out.tolist() == [[0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0]]
