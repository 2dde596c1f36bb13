"""Figures show what they are given."""

import numpy as np
import pytest
import torch

from fsbench.results.pictures.episodes import object_center
from fsbench.results.pictures.error_map import ALARM, HIT, MISSED, OTHER, error_map
from fsbench.results.pictures.palette import DARK_LINE, QUERY_COLOR, SUPPORT_COLOR
from fsbench.results.pictures.plots import curve_figure, rasterize, scatter_figure
from fsbench.results.pictures.regions import COLORS, paint_regions


def near(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.abs(pixels.astype(int) - color).max(-1) < 40


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


def test_curves_lie_where_their_values_are():
    figure = curve_figure({"high": torch.full((9,), 0.75), "low": torch.full((9,), -1.0)}, "position", 248)
    pixels = rasterize(figure)
    assert pixels.shape == (248, 248, 3)
    (axes,) = figure.axes
    for value, color in ((0.75, QUERY_COLOR), (-1.0, SUPPORT_COLOR)):
        column, row = axes.transData.transform((0.5, value))  # from the lower left corner
        assert near(pixels[:, int(column)], color).nonzero()[0].mean() == pytest.approx(248 - row, abs=1.5)


def test_foreground_points_are_orange():
    figure = scatter_figure(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0, 1]), 200)
    pixels = rasterize(figure)
    for point, color in (((0, 0), SUPPORT_COLOR), ((1, 1), QUERY_COLOR)):
        column, row = figure.axes[0].transData.transform(point)
        assert near(pixels[199 - int(row), int(column)], color)
