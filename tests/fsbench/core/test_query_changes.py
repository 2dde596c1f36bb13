"""Changes that make a query of a support: image and labels alike, colours by a plain formula, draws that repeat."""

import colorsys
import random

import numpy as np
import pytest

from fsbench.core.query_changes import QueryChanges, shift_colours, shuffle_quadrants

LABEL = np.zeros((9, 14), np.uint8)
LABEL[1:4, 2:11], LABEL[6, 3] = 1, 255
BRIGHT = np.repeat(np.where(LABEL[..., None] == 1, np.uint8(255), np.uint8(0)), 3, 2)
"""White on the label, black elsewhere: no change of colour brings one across the middle."""


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_image_and_its_labels_change_alike(shuffle):
    places = set()
    for seed in range(60):
        image, label = QueryChanges(0.5, shuffle)(BRIGHT, LABEL, random.Random(seed))
        assert np.array_equal(image.max(2) > 128, label == 1)
        assert sorted(label.ravel()) == sorted(LABEL.ravel()) and label.flags.c_contiguous
        places.add((label.shape, label.tobytes()))
    assert {shape for shape, _ in places} == {(9, 14), (14, 9)}
    assert len(places) > (30 if shuffle else 7) and (shuffle or len(places) == 8)  # the turns and flips of a rectangle


def test_the_same_draws_give_the_same_query_and_flips_have_their_probability():
    first, second = (QueryChanges(0.5, True)(BRIGHT, LABEL, random.Random(7)) for _ in range(2))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])
    for flip, expected in ((0.0, 0), (1.0, 1)):
        upright = [QueryChanges(flip)(BRIGHT, LABEL, random.Random(seed))[1] for seed in range(40)]
        turned = LABEL[::-1, ::-1] if expected else LABEL
        assert sum(np.array_equal(label, turned) for label in upright) > 15  # half are not turned by quarters


def test_quadrants_of_odd_sides_change_places_and_the_middle_stays():
    pixels = np.arange(15).reshape(3, 5)
    shuffled = shuffle_quadrants(pixels, [3, 1, 2, 0])
    assert shuffled.tolist() == [[13, 14, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 0, 1]]
    assert np.array_equal(shuffle_quadrants(shuffled, [3, 1, 2, 0]), pixels)


def test_colours_shift_as_in_hue_saturation_and_value():
    image = np.random.RandomState(0).randint(0, 256, (4, 5, 3)).astype(np.uint8)
    found = shift_colours(image, 12, -20, 15).reshape(-1, 3) / 255
    for before, after in zip(image.reshape(-1, 3) / 255, found, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb(
            (hue + 12 / 180) % 1, np.clip(saturation - 20 / 255, 0, 1), np.clip(value + 15 / 255, 0, 1)
        )
        assert np.abs(np.array(wanted) - after).max() < 0.04  # hue has 180 steps, the others 256
