"""Figures show what they are given."""

import numpy as np
import pytest
import torch
from PIL import Image

from fsbench.visualization.colors import QUERY_COLOR, SUPPORT_COLOR, WAY_COLORS
from fsbench.visualization.episodes import object_center, paint_errors, paint_mask, paint_slots
from fsbench.visualization.error_map import ALARM, ERROR_COLORS, HIT, MISSED, OTHER, error_map
from fsbench.visualization.plots import curve_figure, heat_map, rasterize, scatter_figure
from fsbench.visualization.sheet import CAPTION, GAP, write_sheet

GRAY = np.full((8, 8, 3), 100, np.uint8)


def near(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.abs(pixels.astype(int) - color).max(-1) < 40


def test_ways_lie_half_over_the_image_and_void_is_white():
    slots = np.array([[0, 1], [7, 255]], dtype=np.uint8)  # a quarter of the image each; way 7 has way 2's color
    painted = paint_slots(GRAY, slots)
    assert (painted[:4, :4] == 100).all() and (painted[4:, 4:] == 255).all()
    np.testing.assert_allclose(painted[0, 7], (100 + WAY_COLORS[0].astype(int)) / 2, atol=1)
    np.testing.assert_allclose(painted[7, 0], (100 + WAY_COLORS[1].astype(int)) / 2, atol=1)
    assert (GRAY == 100).all() and (paint_slots(GRAY, np.zeros((3, 3))) == 100).all()


def test_a_mask_of_another_size_is_stretched():
    mask = torch.zeros(4, 4, dtype=torch.uint8)
    mask[:2] = 1
    painted = paint_mask(GRAY, mask, (200, 0, 0))
    assert (painted[:4] == [150, 50, 50]).all() and (painted[4:] == 100).all()


def test_kinds_of_errors():
    truth = np.array([[0, 1, 2, 255]], dtype=np.uint8).repeat(3, 0)
    prediction = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]], dtype=np.uint8)
    assert error_map(prediction, truth).tolist() == [
        [0, MISSED, MISSED, 255], [ALARM, HIT, OTHER, 255], [ALARM, OTHER, HIT, 255],
    ]  # fmt: skip
    painted = paint_errors(np.zeros((3, 4, 3), np.uint8), prediction, truth)
    np.testing.assert_allclose(painted[1, 0], ERROR_COLORS[ALARM - 1] // 2, atol=1)
    assert (painted[:, 3] == 255).all() and (painted[0, 0] == 0).all()


def test_the_center_is_a_pixel_of_the_object():
    ring = np.ones((9, 9), dtype=bool)
    ring[1:8, 1:8] = False
    assert ring[object_center(ring)] and object_center(np.zeros((6, 4), dtype=bool)) == (3, 2)


def test_high_values_are_red_and_low_ones_blue():
    low, high = heat_map(np.array([[0.0, 1.0]]), np.zeros((1, 2, 3), np.uint8))[0].astype(int)
    assert low[2] > low[0] and high[0] > high[2]


def test_curves_lie_where_their_values_are():
    figure = curve_figure({"high": torch.full((9,), 0.75), "low": torch.full((9,), -1.0)}, "position", 248)
    pixels = rasterize(figure)
    assert pixels.shape == (248, 248, 3)
    (axes,) = figure.axes
    for value, color in ((0.75, QUERY_COLOR), (-1.0, SUPPORT_COLOR)):
        column, row = axes.transData.transform((0.5, value))  # from the lower left corner
        assert near(pixels[:, int(column)], color).nonzero()[0].mean() == pytest.approx(248 - row, abs=1.5)


def test_foreground_points_are_red():
    figure = scatter_figure(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0, 1]), 200)
    pixels = rasterize(figure)
    for point, color in (((0, 0), SUPPORT_COLOR), ((1, 1), QUERY_COLOR)):
        column, row = figure.axes[0].transData.transform(point)
        assert near(pixels[199 - int(row), int(column)], color)


def test_a_sheet_fits_every_panel_into_its_tile(tmp_path):
    wide, small = np.zeros((100, 400, 3), np.uint8), np.zeros((10, 10, 3), np.uint8)
    write_sheet(
        tmp_path / "sheet.png", [[("a long caption that is cut", wide), ("b", small)], [("c", small)]], (80, 60)
    )
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2 * (60 + CAPTION + GAP) + GAP, 2 * (80 + GAP) + GAP, 3)
    first, second = pixels[GAP + CAPTION :, GAP:], pixels[GAP + CAPTION :, 80 + 2 * GAP :]
    assert (first[:20, :80] == 0).all() and (first[20:60, :80] == 255).all()  # as wide as the tile, a quarter as high
    assert (second[:60, :60] == 0).all() and (second[:60, 60:80] == 255).all()
    assert (pixels[60 + CAPTION + 2 * GAP :, 80 + 2 * GAP :] == 255).all()  # no panel
