"""Write sheets: rows of captioned panels as one PNG."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fsbench.base.files import replacing
from fsbench.results.pictures.fonts import font, wrap_text
from fsbench.results.pictures.palette import DARK_LINE, ERROR_COLORS, ERROR_NAMES, Color, way_color
from fsbench.results.pictures.tiles import letterbox

CAPTION = 18
"""Height of a caption in pixels."""
GAP = 4
"""Pixels between tiles."""
TEXT = 11
"""Size of the letters in pixels."""
SWATCH = 10
"""Side of a color in the key in pixels."""
INDENT = 9.0
"""Pixels from the left to the further lines of words of the key."""

Panel = tuple[str, np.ndarray]
"""A caption and an image (H, W, 3) uint8."""
KeyEntry = str | tuple[Color, str]
"""A line of a key, or a color and its words; colors that follow each other share a line."""


def error_colors() -> list[tuple[Color, str]]:
    """Return (color, name) for each kind of segmentation error."""
    kinds = zip(ERROR_COLORS.tolist(), ERROR_NAMES, strict=True)
    return [((red, green, blue), name) for (red, green, blue), name in kinds]


def error_key() -> list[KeyEntry]:
    """Return the legend of error maps: (color, meaning) entries and lines of text."""
    return [*error_colors(), "hatched: void"]


def way_key(names: Sequence[str]) -> list[tuple[Color, str]]:
    """Return (color, class name) for each way of an episode."""
    return [(way_color(way), name) for way, name in enumerate(names, 1)]


def write_sheet(
    path: Path, rows: Sequence[Sequence[Panel]], tile: tuple[int, int], key: Sequence[KeyEntry] = ()
) -> None:
    """Draw rows of captioned images as one picture with a color key, and write it as a PNG to `path`.

    The other arguments are those of `draw_sheet`: rows of (caption, image), the (width, height) of a tile, and the key.
    """
    sheet = draw_sheet(rows, tile, key)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def draw_sheet(rows: Sequence[Sequence[Panel]], tile: tuple[int, int], key: Sequence[KeyEntry] = ()) -> Image.Image:
    """Draw rows of captioned images as one picture.

    Args:
        rows: Rows of (caption, image (H, W, 3) uint8); shorter rows end in white.
        tile: (width, height) into which every image is fitted, keeping its proportions.
        key: Legend below the images: lines of text, or (color, meaning).
    """
    columns = max(map(len, rows))
    across = tile[0] + GAP
    captions = [[wrap_text(caption, tile[0], TEXT) for caption, _ in row] for row in rows]
    heights = [CAPTION * max(map(len, lines)) for lines in captions]
    size = columns * across + GAP, sum(heights) + len(rows) * (tile[1] + GAP) + GAP
    lines = list(_key_lines(key, size[0] - 2 * GAP))
    sheet = Image.new("RGB", (size[0], size[1] + CAPTION * len(lines)), "white")
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for row, words, height in zip(rows, captions, heights, strict=True):
        for x, ((_, pixels), caption) in enumerate(zip(row, words, strict=True)):
            left = GAP + x * across
            for number, text in enumerate(caption):
                draw.text((left, top + 2 + number * CAPTION), text, fill=DARK_LINE, font=font(TEXT))
            sheet.paste(Image.fromarray(letterbox(pixels, tile)), (left, top + height))
        top += height + tile[1] + GAP
    for number, line in enumerate(lines):
        _draw_line(draw, line, size[1] + number * CAPTION)
    return sheet


Piece = tuple[Color | None, str, float]
"""A color, words, and their place from the left of a key."""


def _key_lines(key: Iterable[KeyEntry], width: float) -> Iterable[list[Piece]]:
    """Break a key into lines of `width` pixels."""
    line: list[Piece] = []
    at = 0.0
    for entry in key:
        if isinstance(entry, str):
            if line:
                yield line
            for number, text in enumerate(wrap_text(entry, width - INDENT, TEXT)):
                yield [(None, text, INDENT * bool(number))]
            line, at = [], 0.0
            continue
        color, text = entry
        length = SWATCH + 5 + font(TEXT).getlength(text) + 16
        if line and at + length > width:
            yield line
            line, at = [], 0.0
        line.append((color, text, at))
        at += length
    if line:
        yield line


def _draw_line(draw: ImageDraw.ImageDraw, line: Iterable[Piece], top: int) -> None:
    for color, text, at in line:
        left = GAP + at
        if color is not None:
            draw.rectangle((left, top + 4, left + SWATCH, top + 4 + SWATCH), fill=color, outline=DARK_LINE)
            left += SWATCH + 5
        draw.text((left, top + 2), text, fill=DARK_LINE, font=font(TEXT))
