"""Outlines are filled by one rule, that of OpenCV up to 4.7, wherever their corners lie."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from fsbench.data.painting import fill_outline


def painted(corners: list[tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(size, dtype=np.uint8)
    fill_outline(labels, np.array(corners), 1)
    return labels


def plain(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel by pixel: those between an odd crossing of a row and the next one, and those of the boundary's lines."""
    height, width = size
    mask = np.zeros(size, dtype=np.uint8)
    for first, last in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        cv2.line(mask, first.tolist(), last.tolist(), 1)
    edges = [
        sorted(pair, key=lambda end: end[1])
        for pair in pairwise([*corners.tolist(), corners[0].tolist()])
        if pair[0][1] != pair[1][1]
    ]
    for y in range(height):
        places = sorted(
            left * 65536 + (y - top) * int((right - left) * 65536 / (bottom - top))
            for (left, top), (right, bottom) in edges
            if top <= y < bottom
        )
        for begin, end in zip(places[::2], places[1::2], strict=True):
            for x in range(width):
                if begin <= x * 65536 <= end:
                    mask[y, x] = 1
    return mask


def test_a_triangle_has_the_pixels_of_the_old_rule():
    """OpenCV 4.8 to 4.10 give it 18 pixels."""
    assert painted([(1, 1), (5, 2), (3, 6)], (8, 8)).sum() == 16


@pytest.mark.parametrize("beyond", [0, 2, 300], ids=["inside", "at the border", "far outside"])
def test_every_outline_is_filled_by_the_plain_rule(beyond):
    rng = np.random.RandomState(beyond)
    for _ in range(60):
        height, width = rng.randint(4, 24, 2).tolist()
        count = rng.randint(1, 9)
        corners = np.stack([rng.randint(-beyond, side + beyond, count) for side in (width, height)], axis=1)
        np.testing.assert_array_equal(painted(corners.tolist(), (height, width)), plain(corners, (height, width)))


def test_corners_on_the_right_and_lower_border():
    """As COCO's at x = width and y = height; OpenCV from 4.11 on fills other pixels."""
    rectangle = painted([(4, 3), (8, 3), (8, 6), (4, 6)], (6, 8))
    np.testing.assert_array_equal(rectangle, np.pad(np.ones((3, 4), np.uint8), ((3, 0), (4, 0))))
    assert not painted([(9, 2), (12, 2), (12, 5)], (6, 8)).any()


def test_corners_are_truncated_toward_zero():
    given = np.zeros((4, 4), dtype=np.uint8)
    fill_outline(given, np.array([[-0.9, 0.9], [2.9, 0.0], [2.0, 2.9]]), 7)
    np.testing.assert_array_equal(given, 7 * painted([(0, 0), (2, 0), (2, 2)], (4, 4)))
