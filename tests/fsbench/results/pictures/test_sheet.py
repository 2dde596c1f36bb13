"""Sheets: equal tiles, captions that are read, a key with colors; and what an episode is in words."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fsbench.results.pictures.captions import iou_caption, presence_caption, truth_caption
from fsbench.results.pictures.fonts import font, wrap_text
from fsbench.results.pictures.palette import DARK_LINE, ERROR_COLORS
from fsbench.results.pictures.sheet import CAPTION, GAP, SWATCH, error_key, way_key, write_sheet
from fsbench.results.pictures.tiles import GROUND, letterbox


def blank(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def pixels_of_sheet(path, *arguments, **named) -> np.ndarray:
    write_sheet(path, *arguments, **named)
    with Image.open(path) as image:
        return np.asarray(image)


def test_every_panel_lies_in_the_middle_of_a_tile_of_one_size(tmp_path):
    wide, tall = blank(100, 400), blank(30, 10)
    rows = [[("a caption", wide), ("b", tall)], [("c", blank(60, 80))]]
    pixels = pixels_of_sheet(tmp_path / "sheet.png", rows, (80, 60))
    assert pixels.shape == (2 * (60 + CAPTION + GAP) + GAP, 2 * (80 + GAP) + GAP, 3)
    first = pixels[CAPTION + GAP : CAPTION + GAP + 60, GAP : GAP + 80]
    assert (first[20:40] == 0).all() and (first[:20] == GROUND).all() and (first[40:] == GROUND).all()
    second = pixels[CAPTION + GAP : CAPTION + GAP + 60, 80 + 2 * GAP : 160 + 2 * GAP]
    assert (second[:, 30:50] == 0).all() and (second[:, :30] == GROUND).all() and (second[:, 50:] == GROUND).all()
    caption = pixels[GAP : GAP + CAPTION]
    assert caption.min() < 100 and caption.max() == 255, "dark words on white"
    assert (caption[:, 80 + GAP : 80 + 2 * GAP] == 255).all(), "not over the next tile"
    assert (pixels[60 + CAPTION + 2 * GAP :, 80 + 2 * GAP :] == 255).all(), "no panel"


def test_a_long_caption_is_broken_and_never_cut(tmp_path):
    name = "traffic light of the left lane, unverifiablyhyphenated"
    lines = wrap_text(f"truth: {name}", 80, 11)
    assert " ".join(lines[:-2]) + " " + "".join(lines[-2:]) == f"truth: {name}"  # the last word is too long for a line
    assert all(font(11).getlength(line) <= 80 for line in lines) and len(lines) > 3
    assert wrap_text("", 80, 11) == [""]
    rows = [[(f"truth: {name}", blank(60, 80)), ("b", blank(60, 80))], [("c", blank(60, 80))]]
    pixels = pixels_of_sheet(tmp_path / "sheet.png", rows, (80, 60))
    assert len(pixels) == (len(lines) + 1) * CAPTION + 2 * (60 + GAP) + GAP
    first = pixels[GAP + len(lines) * CAPTION :][:60]
    assert (first[:, GAP : GAP + 80] == 0).all() and (first[:, 80 + 2 * GAP : -GAP] == 0).all()  # side by side
    caption = pixels[GAP : GAP + len(lines) * CAPTION]
    assert all((caption[n * CAPTION :][:CAPTION] < 100).any() for n in range(len(lines)))
    assert (caption[:, 80 + GAP : 80 + 2 * GAP] == 255).all()


def test_the_key_has_the_colors_of_errors(tmp_path):
    plain = pixels_of_sheet(tmp_path / "a.png", [[("", blank(60, 400))]], (400, 60))
    keyed = pixels_of_sheet(tmp_path / "b.png", [[("", blank(60, 400))]], (400, 60), key=["errors:", *error_key()])
    below = keyed[plain.shape[0] :]
    assert len(below) == 3 * CAPTION, "words, the colors, void"
    for color in ERROR_COLORS:
        assert (below == color).all(-1).sum() >= (SWATCH - 1) ** 2
    assert (below == DARK_LINE).all(-1).any()
    assert [name for _, name in way_key(["dog", "cat"])] == ["dog", "cat"]


def test_a_long_key_is_broken(tmp_path):
    plain = pixels_of_sheet(tmp_path / "a.png", [[("", blank(60, 60))]], (60, 60))
    keyed = pixels_of_sheet(
        tmp_path / "b.png", [[("", blank(60, 60))]], (60, 60), key=["some words " * 5, *error_key()]
    )
    assert keyed.shape[1] == plain.shape[1] and len(keyed) - len(plain) >= 9 * CAPTION


def test_letterboxed_keeps_proportions():
    tile = letterbox(blank(50, 100), (60, 60))
    assert tile.shape == (60, 60, 3) and (tile[15:45] == 0).all() and (tile[:15] == GROUND).all()


def test_an_episode_in_words():
    assert truth_caption(["dog", "cat"], [2]) == "truth: cat"
    assert truth_caption(["dog", "cat"], []) == "truth: no dog, no cat"
    assert presence_caption(["dog", "cat"], [True, False]) == "predicted: dog"
    assert presence_caption(["dog"], [False]) == "predicted: not present"
    assert iou_caption([0.5, None], [1]) == "IoU 50.0, –"
    assert iou_caption([None], []) == "nothing to find, nothing drawn"
    assert iou_caption([0.0], []) == "nothing to find: false alarm"


@pytest.mark.slow(1)
def test_drawing_loads_neither_torch_nor_matplotlib():
    modules = "episodes", "contact_sheet", "masks", "sheet", "tiles", "captions"
    code = "; ".join(f"import fsbench.results.pictures.{module}" for module in modules)
    code += "; import sys; print(sorted({'torch', 'torchvision', 'matplotlib', 'lightning'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
