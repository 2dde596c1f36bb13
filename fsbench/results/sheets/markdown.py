"""Sheets as Markdown."""

from collections.abc import Collection, Sequence

from fsbench.base.terminal import escape
from fsbench.results.sheets.cells import write_heads
from fsbench.results.sheets.fitting import cell_texts, fit
from fsbench.results.sheets.layout import Grid
from fsbench.results.sheets.layout import Sheet as GridSheet
from fsbench.results.sheets.legend import foot
from fsbench.results.table import Sheet, Table


def markdown_row(cells: Sequence[str], bold: Collection[int] = ()) -> str:
    """Write a row of a Markdown table, with the cells whose numbers are in `bold` bold."""
    words = [escape(cell).strip().replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(f"**{cell}**" if i in bold else cell for i, cell in enumerate(words)) + " |"


def markdown_table(grid: Grid, bold: Collection[tuple[int, int]] = ()) -> list[str]:
    """Write a grid, whose first row is the head, as the lines of a Markdown table; `bold` are its (row, column)."""
    rows = [markdown_row(row, [j for i, j in bold if i == number]) for number, row in enumerate(grid)]
    return [rows[0], "|" + "---|" * len(grid[0]), *rows[1:]]


def table_lines(table: Table) -> list[str]:
    """Write a table as the lines of a Markdown table, the best figure of each column bold."""
    bold = {
        (i, j) for i, line in enumerate(table.lines, 1) for j, cell in enumerate(line.cells) if cell.place == "best"
    }
    return markdown_table([write_heads(table.columns), *map(list, zip(*cell_texts(table), strict=True))], bold)


def markdown(sheets: Sequence[Sheet | GridSheet]) -> str:
    """Write sheets as Markdown."""
    lines: list[str] = []
    for sheet in sheets:
        shown = fit(sheet if isinstance(sheet, Sheet) else sheet.typed(), None).sheet
        lines += [f"### {escape(shown.title)}", ""]
        lines += [*(f"- {escape(words)}" for words in shown.lead), ""] if shown.lead else []
        for table in shown.tables:
            lines += [f"*{escape(table.caption)}*", ""] if table.caption else []
            lines += [*table_lines(table), ""]
        lines += [f"- {escape(note)}" for note in foot(shown)] + [""]
    return "\n".join(lines)
