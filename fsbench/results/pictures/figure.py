"""Figures for papers: a grid of tiles of one size, with words that stay words, as PDF, SVG or PNG of 300 dpi."""

import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.base.files import replacing
from fsbench.base.files.figures import STAMPS
from fsbench.results.pictures.fonts import font, font_file, wrap_text
from fsbench.results.pictures.palette import DARK_LINE, LIGHT_TEXT, Color, hex_color
from fsbench.results.pictures.tiles import letterbox

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".svg", ".png")
DPI = 300
WIDTH = 6.875
"""Width in inches of a figure with short names of rows: both columns of a page of most conferences."""
PROPORTION = 3 / 4
"""Height of a tile by its width."""
WIDEST_TILE = 1.6
"""In inches, where there are few columns."""
LABEL = 0.3
"""Inches for the names of rows, in up to two lines; longer ones make the figure wider."""
HEADING = 0.17
"""Inches for the names of columns, and for the key."""
LINE = 0.1
"""Inches from one line of a name to the next."""
GAP = 0.03
"""Inches between tiles."""
POINTS = 6
"""Size of letters in points."""
LETTERS = round(POINTS / 72 * DPI)
"""Size of letters in pixels."""


class FigureRow(NamedTuple):
    """Row of tiles in a figure.

    Attributes:
        label: Text at the row's left, written from bottom to top.
        tiles: Images (H, W, 3) uint8, all of one size, as `tile_size` returns it.
        notes: Text in the lower left corner of each tile; "" for no text.
    """

    label: str
    tiles: Sequence[np.ndarray]
    notes: Sequence[str]


def check_suffix(path: Path) -> None:
    """Raise SettingsError unless the ending of `path` is that of a figure format."""
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--figure is '{path}', expected a file that ends in {', '.join(SUFFIXES)}")


def tile_size(columns: int) -> tuple[int, int]:
    """Return width and height in pixels of the tiles of a figure with this many columns."""
    width = _tile_width(columns)
    return round(width * DPI), round(width * PROPORTION * DPI)


def _tile_width(columns: int) -> float:
    return min(WIDEST_TILE, (WIDTH - LABEL - GAP * (columns - 1)) / columns)


def write_figure(
    path: Path, headings: Sequence[str], rows: Sequence[FigureRow], key: Sequence[tuple[Color, str]] = ()
) -> tuple[float, float]:
    """Write a figure: rows of image tiles under column headings, with a key below.

    Args:
        path: File to write; its ending determines the format.
        headings: Names of the columns.
        rows: The rows of tiles, at least one.
        key: (color, meaning) pairs, written below the tiles.

    Returns:
        Width and height of the figure in inches.

    Raises:
        SettingsError: the ending of `path` is not that of a figure format.
    """
    check_suffix(path)
    from matplotlib import rc_context  # slow to import

    style = {
        "font.family": "DejaVu Sans", "font.size": POINTS, "text.parse_math": False, "pdf.fonttype": 42,
        "svg.fonttype": "none", "svg.hashsalt": "fsbench",
    }  # fmt: skip
    kind = path.suffix.lower()[1:]
    with rc_context(cast(Any, style)):
        figure = _figure(headings, rows, key)
        out = io.BytesIO()
        figure.savefig(out, format=kind, dpi=DPI, metadata=cast(Any, STAMPS[f".{kind}"]))
    content = out.getvalue()
    if kind == "svg":
        words = [*headings, *(row.label for row in rows), *(note for row in rows for note in row.notes)]
        content = with_font(content.decode(), [*words, *(text for _, text in key)]).encode()
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    width, height = figure.get_size_inches()
    return float(width), float(height)


def _figure(headings: Sequence[str], rows: Sequence[FigureRow], key: Sequence[tuple[Color, str]]) -> "Figure":
    # slow to import
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    tile = _tile_width(len(headings))
    high = tile * PROPORTION
    labels = [wrap_text(row.label, high * DPI, LETTERS) for row in rows]
    margin = LABEL + max(0, max(map(len, labels)) - 2) * LINE
    width = margin + len(headings) * (tile + GAP) - GAP
    wrapped = [wrap_text(heading, 0.96 * tile * DPI, LETTERS) for heading in headings]
    heading_height = HEADING + (max(map(len, wrapped)) - 1) * LINE
    height = heading_height + len(rows) * (high + GAP) - GAP + (HEADING if key else 0)
    figure = Figure((width, height), DPI)
    size = tile_size(len(headings))
    for column, lines in enumerate(wrapped):
        left = margin + column * (tile + GAP)
        for number, text in enumerate(lines):
            top = 0.3 * HEADING + number * LINE
            figure.text((left + tile / 2) / width, 1 - top / height, text, ha="center", va="top")
    for number, row in enumerate(rows):
        bottom = height - heading_height - high - number * (high + GAP)
        figure.text(
            (margin - 0.04) / width, (bottom + high / 2) / height, "\n".join(labels[number]), rotation=90, ha="right",
            va="center", multialignment="center",
        )  # fmt: skip
        for column, (pixels, note) in enumerate(zip(row.tiles, row.notes, strict=True)):
            left = margin + column * (tile + GAP)
            axes = figure.add_axes((left / width, bottom / height, tile / width, high / height))
            axes.imshow(letterbox(pixels, size), interpolation="none", aspect="auto")
            axes.set_axis_off()
            if note:
                ground = {"facecolor": hex_color(DARK_LINE), "edgecolor": "none", "pad": 1}
                axes.text(
                    0.03, 0.05, note, transform=axes.transAxes, ha="left", va="bottom", color=hex_color(LIGHT_TEXT),
                    fontsize=POINTS - 1, bbox=ground,
                )  # fmt: skip
    at = margin
    side = POINTS / 72
    for color, text in key:
        place = at / width, 0.04 / height
        swatch = Rectangle(
            place, side / width, side / height, facecolor=hex_color(color), edgecolor=hex_color(DARK_LINE)
        )
        swatch.set(linewidth=0.4, transform=figure.transFigure)
        figure.add_artist(swatch)
        figure.text((at + side + 0.04) / width, 0.04 / height, text, va="bottom")
        at += side + 0.04 + font(LETTERS).getlength(text) / DPI + 0.15
    return figure


def with_font(svg: str, words: Iterable[str]) -> str:
    """Return an SVG with the letters of `words` embedded as a font, so that its text looks the same everywhere.

    The font is DejaVu Sans, which anybody may embed. Where it is not installed, the SVG stays as it is.

    Returns:
        The SVG text, unchanged if the font is not installed.
    """
    file = font_file()
    if file is None:
        return svg
    # slow to import; matplotlib needs it as well
    from fontTools import subset
    from fontTools.ttLib import TTFont

    with TTFont(file, recalcTimestamp=False) as face:
        chosen = subset.Subsetter(subset.Options(layout_features=[], hinting=False, drop_tables=["FFTM", "MATH"]))
        chosen.populate(text="".join(words) + " ")
        chosen.subset(face)
        out = io.BytesIO()
        face.save(out)
    source = f"data:font/ttf;base64,{b64encode(out.getvalue()).decode()}"
    rule = f"<style>@font-face{{font-family:'DejaVu Sans';src:url({source}) format('truetype')}}</style>"
    at = svg.index("<defs>")
    return f"{svg[:at]}{rule}\n {svg[at:]}"
