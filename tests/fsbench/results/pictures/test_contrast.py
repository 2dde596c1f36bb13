"""The color of a mask: one of the palette that is seen on its object and in its image."""

import numpy as np
import pytest

from fsbench.results.pictures.contrast import way_colors
from fsbench.results.pictures.palette import WAY_COLORS


def scene(ground: tuple[int, int, int], thing: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    pixels, mask = np.full((60, 80, 3), ground, dtype=np.uint8), np.zeros((60, 80), dtype=np.uint8)
    mask[20:40, 30:60] = 1
    pixels[mask == 1] = thing
    return pixels, mask


@pytest.mark.parametrize(
    ("ground", "thing"),
    [((90, 90, 90), color) for color in WAY_COLORS.tolist()] + [(color, (70, 60, 60)) for color in WAY_COLORS.tolist()],
)
def test_no_object_and_no_image_has_its_own_color(ground, thing):
    pixels, mask = scene(ground, thing)
    (color,) = way_colors(pixels, mask, 1).tolist()
    assert color in WAY_COLORS.tolist() and color not in (list(ground), list(thing))


def test_a_violet_object_is_not_violet_and_several_ways_are_as_the_key_says():
    pixels, mask = scene((150, 140, 160), (200, 110, 220))
    (color,) = way_colors(pixels, mask, 1).tolist()
    assert color != WAY_COLORS[0].tolist()
    assert (way_colors(pixels, mask, 2) == WAY_COLORS).all()
    assert (way_colors(pixels, np.zeros((6, 8), dtype=np.uint8), 1) == way_colors(pixels, mask * 0, 1)).all()
    assert (way_colors(pixels[:1, :1], mask[:1, :1], 1) != WAY_COLORS[0]).any()
