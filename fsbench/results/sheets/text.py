"""Sheets as aligned text."""

import textwrap
from collections.abc import Sequence

from fsbench.base.terminal import escape
from fsbench.results.sheets.cells import write_heads
from fsbench.results.sheets.fitting import GAP, cell_texts, fit
from fsbench.results.sheets.layout import Grid
from fsbench.results.sheets.layout import Sheet as GridSheet
from fsbench.results.sheets.legend import foot
from fsbench.results.table import Sheet, Table


def align(grid: Grid, rule: bool = True, words: int = 2) -> list[str]:
    """Align the cells of a grid in columns, words and then numbers; returns a line each.

    Args:
        grid: rows of cells, the head first.
        rule: put a line under the head.
        words: number of columns that hold words.
    """
    return _align(grid, [place < words for place in range(len(grid[0]))], rule)


def text(sheets: Sequence[Sheet | GridSheet], width: int | None = None, wrap: bool = False) -> str:
    """Write sheets as aligned text.

    Args:
        sheets: what is written.
        width: characters of a line of the tables; None for any.
        wrap: wrap titles and notes to that width, too.
    """
    lines: list[str] = []
    most = width if wrap else None
    for sheet in sheets:
        fitted = fit(sheet if isinstance(sheet, Sheet) else sheet.typed(), width)
        shown = fitted.sheet
        lines += [*_wrap(shown.title, most), ""]
        lines += [*(line for words in shown.lead for line in _wrap(words, most, "  ")), ""] if shown.lead else []
        for table in shown.tables:
            lines += [escape(table.caption)] if table.caption else []
            lines += [*table_lines(table), ""]
        notes = foot(shown, fitted.names, fitted.left_out)
        lines += [line for note in notes for line in _wrap(f"* {note}", most, "  ")] + [""]
    return "\n".join(lines)


def table_lines(table: Table, rule: bool = True) -> list[str]:
    """Align a table, words on the left and figures on the right; returns a line each, the head first."""
    grid = [write_heads(table.columns), *map(list, zip(*cell_texts(table), strict=True))]
    return _align(grid, [column.is_words for column in table.columns], rule)


def _align(grid: Grid, words: Sequence[bool], rule: bool) -> list[str]:
    grid = [[escape(cell) for cell in row] for row in grid]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    gap = " " * GAP
    lines = []
    for row in grid:
        cells = [c.ljust(w) if left else c.rjust(w) for c, w, left in zip(row, widths, words, strict=True)]
        lines.append(gap.join(cells).rstrip())
    return [lines[0], gap.join("-" * width for width in widths), *lines[1:]] if rule else lines


def _wrap(line: str, width: int | None, indent: str = "") -> list[str]:
    if width is None:
        return [escape(line)]
    return textwrap.wrap(
        escape(line), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]
