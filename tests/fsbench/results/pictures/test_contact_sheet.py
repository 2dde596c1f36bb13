"""`predictions.png`: a support, the truth, the prediction and its errors in equal tiles, drawn as everywhere."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fsbench.data.episodes.episode import Episode
from fsbench.results.pictures import contact_sheet as sheet_module
from fsbench.results.pictures.contact_sheet import TILE, DrawnPrediction, contact_sheet
from fsbench.results.pictures.contrast import way_colors
from fsbench.results.pictures.masks import paint_errors, paint_slots
from fsbench.results.pictures.sheet import CAPTION, GAP, Panel
from fsbench.results.pictures.tiles import fit_image, letterbox


@pytest.fixture
def data(tmp_path):
    """Two images of 200 x 120 pixels of a data set of two classes; the second image shows nothing."""
    rng = np.random.default_rng(0)
    labels = {"a": np.zeros((120, 200), np.uint8), "b": np.zeros((120, 200), np.uint8)}
    labels["a"][20:80, 30:90], labels["a"][90:, 150:] = 2, 255
    for name in labels:
        Image.fromarray(rng.integers(0, 256, (120, 200, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    return SimpleNamespace(
        turns_images=False, images_are_files=True,
        class_names=("cat", "dog"), label_map=labels.get, crop=lambda name: None,
        label_values=lambda name, classes: list(classes), image_path=lambda name: tmp_path / f"{name}.png",
    )  # fmt: skip


def tile(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    top, left = row * (TILE[1] + CAPTION + GAP) + GAP + CAPTION, column * (TILE[0] + GAP) + GAP
    return pixels[top : top + TILE[1], left : left + TILE[0]]


def test_tiles_are_those_of_all_pictures(data, tmp_path, monkeypatch):
    given: list[list[Panel]] = []
    drawn = sheet_module.draw_sheet
    monkeypatch.setattr(sheet_module, "draw_sheet", lambda rows, *more: given.extend(rows) or drawn(rows, *more))
    episodes = [Episode(n, query, 2, (2,), (("a",),)) for n, query in ((3, "a"), (7, "b"), (8, "b"))]
    right, empty = (data.label_map("a") == 2).astype(np.uint8), np.zeros((120, 200), np.uint8)
    predictions = {3: DrawnPrediction(right[:, ::-1], [True], [0.25]), 7: DrawnPrediction(empty, [False], [None])}
    contact_sheet(tmp_path / "sheet.png", data, predictions, episodes)
    captions = [[caption for caption, _ in row] for row in given]
    assert captions == [
        ["support 1: dog", "3: truth: dog", "predicted: dog", "IoU 25.0"],
        ["support 1: dog", "7: truth: no dog", "predicted: not present", "nothing to find, nothing drawn"],
    ]
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image)
    with Image.open(tmp_path / "a.png") as image:
        whole = np.asarray(image)
    photo = fit_image(whole, TILE)
    truth = np.where(data.label_map("a") == 2, 1, data.label_map("a"))
    drawn = [right, truth, right[:, ::-1]]
    for column, slots in enumerate(drawn):
        painted = paint_slots(photo, slots, way_colors(whole, right, 1))  # one color wherever the image stands
        np.testing.assert_array_equal(tile(pixels, 0, column), letterbox(painted, TILE))
    np.testing.assert_array_equal(tile(pixels, 0, 3), letterbox(paint_errors(photo, right[:, ::-1], truth), TILE))
    assert pixels.shape[1] == 4 * (TILE[0] + GAP) + GAP


def test_what_changed_is_beside_it(data, tmp_path):
    now, before = np.zeros((2, 120, 200), np.uint8)
    now[:60], before[:50] = 1, 1
    episodes = [Episode(0, "a", 2, (2,), (("a",),))]
    contact_sheet(tmp_path / "sheet.png", data, {0: DrawnPrediction(now, [True])}, episodes, {0: before})
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image)
    with Image.open(tmp_path / "a.png") as image:
        whole = np.asarray(image)
    photo = fit_image(whole, TILE)
    colors = way_colors(whole, data.label_map("a") == 2, 1)
    np.testing.assert_array_equal(tile(pixels, 0, 4), letterbox(paint_slots(photo, before, colors), TILE))
    assert pixels.shape[1] == 6 * (TILE[0] + GAP) + GAP
