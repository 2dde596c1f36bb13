"""Masks, void, errors and values are drawn where they are, in their colors, and what is given stays as it is."""

import itertools

import numpy as np
import pytest

from fsbench.results.pictures.error_map import ALARM, HIT, MISSED, OTHER
from fsbench.results.pictures.masks import (
    HATCH_PERIOD,
    gray,
    hatch,
    heat_map,
    line_width,
    paint_errors,
    paint_mask,
    paint_slots,
)
from fsbench.results.pictures.palette import DARK_LINE, ERROR_COLORS, ERROR_FILL, FILL, WAY_COLORS, way_color

GROUND = np.array([90, 120, 60])


def image(height: int = 40, width: int = 60) -> np.ndarray:
    return np.broadcast_to(GROUND, (height, width, 3)).astype(np.uint8)


def square() -> np.ndarray:
    slots = np.zeros((40, 60), dtype=np.uint8)
    slots[10:30, 20:50] = 1
    return slots


def blend(color, ground, opacity) -> np.ndarray:
    return opacity * np.asarray(color, float) + (1 - opacity) * np.asarray(ground, float)


def test_a_mask_has_a_dark_line_outside_a_light_one_inside_and_a_light_fill():
    painted = paint_slots(image(), square())
    assert line_width(painted.shape) == 1
    fill = blend(WAY_COLORS[0], GROUND, FILL)
    for row in range(10, 30):  # across the left edge
        assert (painted[row, 18] == GROUND).all() and (painted[row, 19] == DARK_LINE).all()
        assert (painted[row, 20] == WAY_COLORS[0]).all()
    np.testing.assert_allclose(painted[11:29, 21:49], np.broadcast_to(fill, (18, 28, 3)), atol=1)
    assert (painted[9, 19:51] == DARK_LINE).all() and (painted[30, 19:51] == DARK_LINE).all()
    assert (painted[:9] == GROUND).all() and (painted[31:] == GROUND).all() and (painted[:, 51:] == GROUND).all()


def test_an_outline_ends_where_the_image_does():
    slots = np.zeros((40, 60), dtype=np.uint8)
    slots[:, :30] = 1
    painted = paint_slots(image(), slots)
    np.testing.assert_allclose(painted[0, 0], blend(WAY_COLORS[0], GROUND, FILL), atol=1)
    assert (painted[:, 29] == WAY_COLORS[0]).all() and (painted[:, 30] == DARK_LINE).all()


def test_ways_that_touch_have_a_line_each():
    slots = np.zeros((40, 60), dtype=np.uint8)
    slots[:, :30], slots[:, 30:] = 1, 7  # the colors are taken in turn
    painted = paint_slots(image(), slots)
    assert (painted[:, 29] == WAY_COLORS[0]).all() and (painted[:, 30] == WAY_COLORS[1]).all()
    assert way_color(7) == tuple(WAY_COLORS[1])


def test_lines_grow_with_the_image():
    slots = np.repeat(np.repeat(square(), 20, 0), 20, 1)  # 800 x 1200
    painted = paint_slots(image(800, 1200), slots)
    assert line_width(painted.shape) == 6
    assert (painted[400, 394:400] == DARK_LINE).all() and (painted[400, 400:406] == WAY_COLORS[0]).all()
    assert (painted[400, 393] == GROUND).all() and not (painted[400, 406] == WAY_COLORS[0]).all()


def test_a_mask_of_another_size_is_stretched():
    small = np.zeros((4, 4))
    small[:2] = 1
    painted = paint_mask(image(), small, (200, 0, 0))
    assert (painted[19] == [200, 0, 0]).all() and (painted[20] == DARK_LINE).all() and (painted[21:] == GROUND).all()
    np.testing.assert_allclose(painted[5, 5], blend([200, 0, 0], GROUND, FILL), atol=1)


def test_void_is_hatched_and_most_of_it_stays_as_it_is():
    slots = np.full((40, 60), 255, dtype=np.uint8)
    slots[:, 30:] = 0
    painted = paint_slots(image(), slots)
    assert (painted[:, 30:] == GROUND).all()
    phase = np.add.outer(np.arange(40), np.arange(30)) % HATCH_PERIOD
    left = painted[:, :30].astype(int)
    assert (left[phase == 0] > GROUND).all() and (left[phase == 1] < GROUND).all() and (left[phase > 1] == GROUND).all()
    assert (left != GROUND).any(-1).mean() < 0.35
    whole = hatch(image(), np.ones((40, 60), dtype=bool))
    assert (whole[:, :30] == painted[:, :30]).all()


def test_no_mask_leaves_the_image():
    assert (paint_slots(image(), np.zeros((3, 3))) == GROUND).all()


def test_errors_have_their_colors_over_the_gray_image():
    truth, prediction = np.zeros((2, 20, 100), dtype=np.uint8)
    truth[:, 20:40], truth[:, 60:80], truth[:, 80:] = 1, 2, 255
    prediction[:, :10], prediction[:, 20:30], prediction[:, 60:80] = 1, 1, 1
    painted = paint_errors(image(20, 100), prediction, truth)
    ground = gray(image(20, 100))[0, 0]
    assert ground.std() == 0
    for kind, column in ((ALARM, 5), (HIT, 25), (MISSED, 35), (OTHER, 70)):
        expected = blend(ERROR_COLORS[kind - 1], ground, ERROR_FILL)
        np.testing.assert_allclose(painted[10, column], expected, atol=1)
    assert (painted[:, 50] == ground).all() and (painted[:, 10] == DARK_LINE).all()
    assert len(np.unique(painted[:, 85:].reshape(-1, 3), axis=0)) == 3, "void: gray, and two lines"


@pytest.mark.parametrize("color", list(itertools.product((0, 128, 255), repeat=3)))
def test_a_mask_is_seen_on_an_image_of_any_color(color):
    """Some pixel across the outline differs by much from the ground; so does the fill but on an image of its color."""
    ground = np.broadcast_to(np.array(color, np.uint8), (40, 60, 3)).copy()
    difference = np.abs(paint_slots(ground, square()).astype(int) - color).max(-1)
    assert difference[20, 19:21].max() >= 110
    assert difference[20, 35] >= 36 or color == (255, 128, 255)


def test_the_gray_image_has_neither_black_nor_white():
    levels = gray(np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8))[0]
    assert levels.tolist() == [[56] * 3, [183] * 3]


def test_high_values_are_yellow_and_low_ones_dark_blue():
    low, high = heat_map(np.array([[0.0, 1.0]]), np.full((1, 2, 3), 128, np.uint8))[0].astype(int)
    assert low[2] > low[0] + 15 and high[0] > high[2] + 80 and high.sum() > low.sum() + 200
    middle = heat_map(np.array([[0.5, 7.0]]), np.full((1, 2, 3), 128, np.uint8), (0, 1))[0].astype(int)
    assert np.ptp(middle[0]) < 15 and (middle[1] == high).all(), "above the scale"


def test_what_is_given_stays_as_it_is():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    slots = rng.choice(np.array([0, 1, 2, 255], np.uint8), (40, 60))
    other, values = np.where(slots == 255, 0, slots)[::-1].copy(), rng.random((4, 5))
    given = [pixels, slots, other, values]
    before = [array.copy() for array in given]
    for array in given:
        array.setflags(write=False)
    paint_slots(pixels, slots)
    paint_mask(pixels, other, (1, 2, 3))
    paint_errors(pixels, other, slots)
    heat_map(values, pixels)
    hatch(pixels, slots == 255)
    assert all((array == copy).all() for array, copy in zip(given, before, strict=True))
