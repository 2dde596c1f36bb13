"""Figures for papers: words stay words, tiles have one size, each query is cropped in one way."""

import re
from base64 import b64decode
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from fsbench.base.errors import SettingsError
from fsbench.results.pictures.crops import crop_around
from fsbench.results.pictures.figure import DPI, WIDTH, FigureRow, tile_size, write_figure
from fsbench.results.pictures.palette import ERROR_COLORS

SVG = "{http://www.w3.org/2000/svg}"
HEADINGS = ["dog (3)", "$cat$ & <café> (17)"]
KEY = [((255, 176, 0), "false alarm")]


def rows() -> list[FigureRow]:
    shapes = (90, 160), (40, 20)
    tiles = [[np.full((*shape, 3), level, np.uint8) for shape in shapes] for level in (40, 80, 120)]
    labels, notes = ("support", "truth", "emat (backbone dinov2-small)"), (["", ""], ["", "no cat"], ["IoU 51.5", "–"])
    return [FigureRow(*row) for row in zip(labels, tiles, notes, strict=True)]


@pytest.mark.slow(1)
def test_an_svg_has_its_words_as_text_with_their_font_and_equal_tiles(tmp_path):
    size = write_figure(tmp_path / "paper.svg", HEADINGS, rows(), KEY)
    text = (tmp_path / "paper.svg").read_text()
    root = ElementTree.fromstring(text)
    words = {"".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")}
    expected = {*HEADINGS, "support", "truth", "no cat", "IoU 51.5", "–", "false alarm"}
    assert expected <= words and len(words) == len(expected) + 2, "a long name has two lines"
    images = list(root.iter(f"{SVG}image"))
    assert len(images) == 6 and len({(image.get("width"), image.get("height")) for image in images}) == 1
    assert float(root.get("width").removesuffix("pt")) == pytest.approx(72 * size[0])
    (font,) = re.findall(r"url\(data:font/ttf;base64,([^)]+)\) format\('truetype'\)", text)
    face = TTFont(BytesIO(b64decode(font)))
    assert set(map(ord, "".join(words))) <= set(face.getBestCmap()) and len(face.getGlyphOrder()) < 120
    assert set(re.findall(r"font-family: ([^;\"]+)", text)) == {"'DejaVu Sans'"}
    write_figure(tmp_path / "again.svg", HEADINGS, rows(), KEY)
    assert (tmp_path / "again.svg").read_text() == text, "no date, no chance"


def test_a_pdf_embeds_its_font_and_every_tile(tmp_path):
    write_figure(tmp_path / "paper.pdf", HEADINGS, rows(), KEY)
    content = (tmp_path / "paper.pdf").read_bytes()
    assert content.count(b"/Subtype /Image") == 6 and b"/FontFile2" in content and b"DejaVuSans" in content
    assert b"/Type3" not in content and b"/CreationDate" not in content


def test_a_png_has_300_dots_an_inch_and_tiles_of_one_size(tmp_path):
    columns = 8
    orange = np.broadcast_to(np.array([200, 100, 0], np.uint8), (30, 40, 3))
    given = [FigureRow("truth", [orange] * columns, [""] * columns)]
    width, height = write_figure(tmp_path / "paper.png", ["dog"] * columns, given)
    with Image.open(tmp_path / "paper.png") as image:
        pixels = np.asarray(image.convert("RGB"))
        assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert width == pytest.approx(WIDTH) and pixels.shape[:2] == (int(height * DPI), int(width * DPI))
    is_tile = (pixels == orange[0, 0]).all(-1)
    across, down = tile_size(columns)
    line = is_tile[is_tile.any(1)].all(0)  # of all lines with tiles
    starts = np.flatnonzero(np.diff(line.astype(int), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(line.astype(int), append=0) == -1) + 1
    assert len(starts) == columns and (np.abs(ends - starts - across) <= 1).all()
    assert abs(is_tile.any(1).sum() - down) <= 1


def test_the_key_has_its_color(tmp_path):
    color = tuple(ERROR_COLORS[1].tolist())
    write_figure(tmp_path / "paper.png", HEADINGS, rows(), [(color, "false alarm")])
    with Image.open(tmp_path / "paper.png") as image:
        assert (np.asarray(image.convert("RGB")) == color).all(-1).sum() > 300


def test_no_other_ending(tmp_path):
    with pytest.raises(SettingsError, match=r"expected a file that ends in \.pdf, \.svg, \.png"):
        write_figure(tmp_path / "paper.jpg", HEADINGS, rows())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 20, 10, 20), (0, 0, 60, 80)),  # at the left: as far as the image goes
        ((10, 20, 100, 110), (0, 65, 60, 80)),  # around the object's middle
        ((0, 60, 150, 200), (0, 120, 60, 80)),  # at the right
        ((0, 10, 20, 180), (0, 0, 60, 200)),  # wider than the part: the whole image
        ((0, 0, 0, 0), (0, 60, 60, 80)),  # no object: the middle
    ],
)
def test_a_crop_holds_the_object(box, expected):
    mask = np.zeros((60, 200), dtype=bool)
    mask[box[0] : box[1], box[2] : box[3]] = True
    crop = crop_around(mask, 3 / 4)
    assert crop == expected and crop.cut(mask).sum() == mask.sum()
    assert crop.cut(mask[..., None].repeat(3, 2)).shape == (crop.height, crop.width, 3)
