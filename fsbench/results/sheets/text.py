"""Sheets as aligned text."""

import textwrap
from collections.abc import Sequence

from fsbench.base.terminal import escape
from fsbench.results.sheets.layout import Grid, Sheet


def align(grid: Grid, rule: bool = True, words: int = 2) -> list[str]:
    """Align the cells of a grid in columns, words and then numbers; returns a line each.

    Args:
        grid: rows of cells, the head first.
        rule: put a line under the head.
        words: number of columns that hold words.
    """
    grid = [[escape(cell) for cell in row] for row in grid]
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = []
    for row in grid:
        cells = [c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]] if rule else lines


def text(sheets: Sequence[Sheet], width: int | None = None) -> str:
    """Write sheets as aligned text; titles and notes are wrapped to `width` characters, if that is given."""
    lines: list[str] = []
    for sheet in sheets:
        lines += [*_wrap(sheet.title, width), ""]
        lines += [*(line for words in sheet.lead for line in _wrap(words, width, "  ")), ""] if sheet.lead else []
        for number, (caption, grid) in enumerate(sheet.parts):
            lines += [escape(caption)] if caption else []
            lines += [*align(grid, words=sheet.style(number).words), ""]
        lines += [line for note in sheet.foot for line in _wrap(f"* {note}", width, "  ")] + [""]
    return "\n".join(lines)


def _wrap(line: str, width: int | None, indent: str = "") -> list[str]:
    if width is None:
        return [escape(line)]
    return textwrap.wrap(
        escape(line), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]
