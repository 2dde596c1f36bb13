"""The page of `fsbench demo`: marks become masks, and its answers are those of the predictor."""

import zipfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import fsbench
from fsbench.datamodules.datasets.demo.scenes import draw_scene

CLASS = 16
HEIGHT, WIDTH = 40, 50


@pytest.fixture(scope="module")
def page() -> ModuleType:
    """The module of the page, which imports gradio: seconds that other processes of tests are spared."""
    return pytest.importorskip("fsbench.predict.page")


@pytest.fixture(scope="module")
def predictor() -> fsbench.Predictor:
    return fsbench.Predictor("prototype", backbone="demo", device="cpu")


@pytest.fixture(scope="module")
def example(page: ModuleType) -> NamedTuple:
    pixels, labels = draw_scene([0, 1], (CLASS,))
    return page.Example(pixels, labels == CLASS)


@pytest.fixture
def scenes(tmp_path) -> list[str]:
    files = []
    for number in (2, 3):
        files.append(str(tmp_path / f"scene {number}.png"))
        Image.fromarray(draw_scene([0, number], (CLASS,))[0]).save(files[-1])
    return files


def painted(*spots: tuple[int, int, int, int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> dict:
    """An editor's value: an image, and a layer painted from (top, left) to (bottom, right), at first opaquely."""
    layer = np.zeros((size[1], size[0], 4), np.uint8)
    for number, (top, left, bottom, right) in enumerate(spots):
        layer[top:bottom, left:right] = (216, 27, 96, 255 if number == 0 else 90)
    background = Image.new("RGBA", (WIDTH, HEIGHT), (10, 20, 30, 255))
    return {"background": background, "layers": [Image.fromarray(layer)], "composite": None}


def test_all_that_is_painted_is_the_mask(page):
    pixels, mask, _ = page.marked_example(painted((1, 2, 4, 8), (30, 40, 33, 44)), page.BRUSH)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[1:4, 2:8] = expected[30:33, 40:44] = True
    assert np.array_equal(mask, expected) and pixels.shape == (HEIGHT, WIDTH, 3) and (pixels == (10, 20, 30)).all()
    shown = np.asarray(page.draw_example(page.Example(pixels, mask)))
    assert np.array_equal((shown != pixels).any(-1), mask)


def test_a_box_holds_all_that_is_painted(page):
    _, mask, is_object = page.marked_example(painted((1, 2, 4, 8), (30, 40, 33, 44)), page.BOX, page.NOT_IT)
    assert not is_object
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[1:33, 2:44] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    ("editor", "words"),
    [
        (None, "no example image"),
        ({"background": None, "layers": [], "composite": None}, "no example image"),
        (painted(), "Nothing is painted"),
        (painted((1, 1, 3, 3), size=(9, 9)), r"image is 50x40 pixels and its paint 9x9"),
    ],
)
def test_what_is_no_example_is_refused(page, editor, words):
    with pytest.raises(page.gr.Error, match=words):
        page.marked_example(editor, page.BRUSH)


def test_masks_are_those_of_the_predictor(page, predictor, example, scenes, tmp_path):
    (tmp_path / "out").mkdir()
    shifted = page.Example(np.roll(example.pixels, 9, 1), np.roll(example.mask, 9, 1))
    other = page.Example(example.pixels, np.roll(example.mask, 40, 0) & ~example.mask, is_object=False)
    words, shown, archive = page.segment_images(predictor, scenes, [example, shifted, other], tmp_path / "out")
    assert words.startswith("On your examples, each left out once: object IoU .") and "(2 photos: ." in words
    own = fsbench.Predictor("prototype", backbone="demo", device="cpu")
    own.support("object", [example[:2], shifted[:2]]).negative([other[:2]])
    with zipfile.ZipFile(archive) as file:
        assert sorted(file.namelist()) == ["scene 2.png.png", "scene 3.png.png"]
        file.extractall(tmp_path)
    for (overlay, words), result in zip(shown, own(scenes), strict=True):
        labels = np.asarray(Image.open(tmp_path / f"{result.image_name}.png"))
        assert np.array_equal(labels, result.label_map) and labels.any()
        assert words == str(result) and Image.open(overlay).width == labels.shape[1]


def test_an_image_that_cannot_be_read_is_left_out(page, predictor, example, scenes, tmp_path, monkeypatch):
    warned: list[str] = []
    monkeypatch.setattr(page.gr, "Warning", warned.append)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    for files, number in (([*scenes, str(broken)], 2), ([str(broken)], 0)):
        out = tmp_path / f"out{number}"
        out.mkdir()
        if number:
            _, shown, _ = page.segment_images(predictor, files, [example], out)
            assert len(shown) == number
        else:
            with pytest.raises(page.gr.Error, match="None of the images to segment can be read"):
                page.segment_images(predictor, files, [example], out)
    assert len(warned) == 2 and all(line.startswith("image broken.jpg cannot be decoded") for line in warned)


def test_what_cannot_be_segmented_is_refused(page, predictor, example, scenes, tmp_path):
    speck = np.zeros((900, 900), bool)
    speck[3, 3] = True
    again = tmp_path / "again" / Path(scenes[0]).name
    for files, examples, words in (
        (scenes, [example._replace(is_object=False)], "There is no example yet"),
        ([], [example], "no image to segment"),
        (None, [example], "no image to segment"),
        ([*scenes, str(again)], [example], "Several images are named scene 2.png"),
        (scenes, [page.Example(np.zeros((900, 900, 3), np.uint8), speck)], "has 1 pixels, of which none is left"),
    ):
        with pytest.raises(page.gr.Error, match=words):
            page.segment_images(predictor, files, examples, tmp_path)
