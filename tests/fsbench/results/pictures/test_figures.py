"""Figures show what they are given."""

import numpy as np

from fsbench.results.pictures.episodes import object_center
from fsbench.results.pictures.error_map import ALARM, HIT, MISSED, OTHER, error_map
from fsbench.results.pictures.palette import DARK_LINE
from fsbench.results.pictures.regions import COLORS, paint_regions


def test_regions_have_a_color_each_the_largest_the_first_and_lines_between_them():
    image = np.full((8, 8, 3), 100, np.uint8)  # as gray: 106
    painted = paint_regions(image, np.array([[7, 7], [7, 4]]))  # a quarter of the image each
    is_line = (painted == DARK_LINE).all(-1)
    first, second = painted[0, 0], painted[7, 7]
    assert (painted[:4][~is_line[:4]] == first).all() and (painted[4:, 4:][~is_line[4:, 4:]] == second).all()
    assert is_line.sum() == 7 and is_line[4, 4:].all() and is_line[4:, 4].all()
    np.testing.assert_allclose(first, (106 + COLORS[0].astype(int)) / 2, atol=1)
    np.testing.assert_allclose(second, (106 + COLORS[1].astype(int)) / 2, atol=1)
    many = paint_regions(np.full((64, 64, 3), 100, np.uint8), np.arange(64).reshape(8, 8))
    assert len(np.unique(many.reshape(-1, 3), axis=0)) == len(COLORS) + 1


def test_kinds_of_errors():
    truth = np.array([[0, 1, 2, 255]], dtype=np.uint8).repeat(3, 0)
    prediction = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]], dtype=np.uint8)
    assert error_map(prediction, truth).tolist() == [
        [0, MISSED, MISSED, 255], [ALARM, HIT, OTHER, 255], [ALARM, OTHER, HIT, 255],
    ]  # fmt: skip


def test_the_center_is_a_pixel_of_the_object():
    ring = np.ones((9, 9), dtype=bool)
    ring[1:8, 1:8] = False
    assert ring[object_center(ring)] and object_center(np.zeros((6, 4), dtype=bool)) == (3, 2)
