"""Sheets as Markdown."""

from collections.abc import Collection, Sequence

from fsbench.base.terminal import escape
from fsbench.results.sheets.layout import Grid, Sheet


def markdown_row(cells: Sequence[str], bold: Collection[int] = ()) -> str:
    """Write a row of a Markdown table, with the cells whose numbers are in `bold` bold."""
    words = [escape(cell).strip().replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(f"**{cell}**" if i in bold else cell for i, cell in enumerate(words)) + " |"


def markdown_table(grid: Grid, bold: Collection[tuple[int, int]] = ()) -> list[str]:
    """Write a grid, whose first row is the head, as the lines of a Markdown table; `bold` are its (row, column)."""
    rows = [markdown_row(row, [j for i, j in bold if i == number]) for number, row in enumerate(grid)]
    return [rows[0], "|" + "---|" * len(grid[0]), *rows[1:]]


def markdown(sheets: list[Sheet]) -> str:
    """Write sheets as Markdown."""
    lines: list[str] = []
    for sheet in sheets:
        lines += [f"### {escape(sheet.title)}", ""]
        lines += [*(f"- {escape(words)}" for words in sheet.lead), ""] if sheet.lead else []
        for number, (caption, grid) in enumerate(sheet.parts):
            lines += [f"*{escape(caption)}*", ""] if caption else []
            lines += [*markdown_table(grid, sheet.style(number).bold), ""]
        lines += [f"- {escape(note)}" for note in sheet.foot] + [""]
    return "\n".join(lines)
