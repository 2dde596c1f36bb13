"""Tiles cover an image and join as one label map; labelled images are cut around their objects."""

from itertools import pairwise

import numpy as np
import pytest

import fsbench
from fsbench.base.errors import SettingsError
from fsbench.data.dataset import VOID
from fsbench.predict.supports import Support
from fsbench.predict.tiles import label_by_tiles, objects_at_tile_size, starts

RED = (220, 40, 30)


@pytest.mark.parametrize("length", [1, 39, 40, 41, 59, 60, 61, 1000])
def test_tiles_overlap_by_half_and_cover_everything(length):
    found = starts(length, 40)
    assert found[0] == 0 and found[-1] == max(length - 40, 0)
    assert all(1 <= after - before <= 20 for before, after in pairwise(found))


@pytest.mark.parametrize("size", [(30, 30), (64, 200), (201, 33), (150, 90)])
def test_tiles_that_agree_join_to_what_they_show(size):
    truth = np.random.default_rng(0).integers(0, 4, size).astype(np.uint8)
    np.testing.assert_array_equal(label_by_tiles(size, 40, 3, lambda tile: truth[tile]), truth)


def test_the_tile_that_shows_a_pixel_farthest_from_its_border_decides():
    labels = iter([1, 2, 3])  # tiles at 0, 20 and 40
    (row,) = label_by_tiles((1, 80), 40, 3, lambda tile: np.full((1, 40), next(labels), np.uint8))
    assert row[:30].tolist() == [1] * 30 and row[50:].tolist() == [3] * 30 and set(row[31:49]) == {2}


def scene(height: int, width: int, top: int, left: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey photo with noise and a red square, and the square's mask."""
    pixels = np.random.default_rng(height).integers(80, 100, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + side, left : left + side] = 1
    pixels[mask > 0] = RED
    return pixels, mask


def test_labelled_images_are_cut_around_their_objects():
    pixels, labels = scene(300, 900, 10, 860, 30)
    labels[50:250, 100:500] = 7
    labels[0, 0] = VOID
    parts = objects_at_tile_size(Support("a", pixels, labels, {1: "cat", 7: "dog"}), 256)
    assert [part.classes for part in parts] == [{1: "cat"}, {7: "dog"}]
    assert [part.labels.shape for part in parts] == [(256, 256), (256, 400)]
    assert (parts[0].labels == 1).sum() == 900 and (parts[1].labels == 7).sum() == 200 * 400
    for part in parts:
        np.testing.assert_array_equal((part.pixels == RED).all(-1) & (part.labels != 7), part.labels == 1)
    small = Support("b", pixels[:200, :256], labels[:200, :256], {7: "dog"})
    assert objects_at_tile_size(small, 256) == [small]


def test_small_objects_are_found_from_large_photos_too():
    found = {}
    for tiles in (False, True):
        predictor = fsbench.Predictor("prototype", dataset="demo", device="cpu", tiles=tiles)
        predictor.support("square", [scene(1000, 1200, 300, 700, 24), scene(900, 800, 100, 50, 24)])
        query, truth = scene(1100, 700, 620, 130, 24)
        result = predictor.predict(query)
        inside, outside = (result.mask("square") & (truth == of) for of in (1, 0))
        found[tiles] = inside.sum() / ((truth == 1).sum() + outside.sum())
        assert result.label_map.shape == truth.shape and result.classes[0].pixels == result.mask("square").sum()
        if tiles:
            assert result.classes[0].present
            assert predictor.leave_one_out()["square"].ious > (0.4, 0.4)
            with pytest.raises(SettingsError, match="tiles"):
                predictor.export("x.onnx")
    assert found[True] > 0.4 > found[False], found


def test_an_image_as_small_as_a_tile_is_predicted_as_without_tiles():
    whole, parts = (
        fsbench.Predictor("prototype", dataset="demo", device="cpu", tiles=tiles) for tiles in (False, True)
    )
    query = scene(256, 200, 30, 40, 60)[0]
    results = [one.support("square", [scene(96, 128, 20, 30, 30)]).predict(query) for one in (whole, parts)]
    np.testing.assert_array_equal(results[0].label_map, results[1].label_map)
    assert results[0].classes == results[1].classes and whole.identity != parts.identity
