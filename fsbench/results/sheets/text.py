"""Sheets as aligned text."""

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from fsbench.base.terminal import escape
from fsbench.results.sheets.cells import write_heads
from fsbench.results.sheets.fitting import GAP, cell_texts, fit
from fsbench.results.sheets.legend import foot
from fsbench.results.table import Sheet, Table


def text(sheets: Sequence[Sheet], width: int | None = None, wrap: bool = False) -> str:
    """Write sheets as text with aligned columns.

    Args:
        sheets: tables with titles and notes to write.
        width: largest number of characters in a table line; None for any.
        wrap: wrap titles and notes to that width, too.
    """
    lines: list[str] = []
    most = width if wrap else None
    for sheet in sheets:
        fitted = fit(sheet, width)
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
    """Write a table as aligned text lines, the heading first: words left, numbers right.

    Args:
        table: the table.
        rule: whether to put a line under the heading.
    """
    columns = [
        [escape(text) for text in (head, *texts)]
        for head, texts in zip(write_heads(table.columns), cell_texts(table), strict=True)
    ]
    widths = [max(map(len, column)) for column in columns]
    gap = " " * GAP
    lines = []
    for row in zip(*columns, strict=True):
        cells = [
            text.ljust(width) if column.is_words else text.rjust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        ]
        lines.append(gap.join(cells).rstrip())
    return [lines[0], gap.join("-" * width for width in widths), *lines[1:]] if rule else lines


def wrapped_row(label: str, cells: Sequence[str], first: int, column: int) -> list[str]:
    """Return the text lines of a table row of words, with each cell wrapped to its column's width.

    Args:
        label: text before the cells.
        cells: texts of the cells.
        first, column: width in characters of the label, and of each cell.
    """
    wrapped = [textwrap.wrap(cell, column) for cell in cells]
    lines = zip_longest([label], *wrapped, fillvalue="")
    return ["   ".join([head.ljust(first), *(part.ljust(column) for part in parts)]).rstrip() for head, *parts in lines]


def _wrap(line: str, width: int | None, indent: str = "") -> list[str]:
    if width is None:
        return [escape(line)]
    return textwrap.wrap(
        escape(line), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]
