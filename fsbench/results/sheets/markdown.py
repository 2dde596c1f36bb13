"""Sheets as Markdown."""

from collections.abc import Collection, Sequence

from fsbench.base.terminal import escape
from fsbench.results.sheets.cells import write_heads
from fsbench.results.sheets.fitting import cell_texts, fit
from fsbench.results.sheets.legend import foot
from fsbench.results.table import Sheet, Table


def markdown_row(cells: Sequence[str], bold: Collection[int] = ()) -> str:
    """Return a row of a Markdown table; cells whose indices are in `bold` are bold."""
    words = [escape(cell).strip().replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(f"**{cell}**" if i in bold else cell for i, cell in enumerate(words)) + " |"


def table_lines(table: Table) -> list[str]:
    """Return a table as lines of Markdown, with the best score of each column bold."""
    rows = [markdown_row(write_heads(table.columns)), "|" + "---|" * len(table.columns)]
    for line, texts in zip(table.lines, zip(*cell_texts(table), strict=True), strict=True):
        rows.append(markdown_row(texts, [n for n, cell in enumerate(line.cells) if cell.place == "best"]))
    return rows


def markdown(sheets: Sequence[Sheet]) -> str:
    """Return sheets (tables with title and notes) as Markdown text."""
    lines: list[str] = []
    for sheet in sheets:
        shown = fit(sheet, None).sheet
        lines += [f"### {escape(shown.title)}", ""]
        lines += [*(f"- {escape(words)}" for words in shown.lead), ""] if shown.lead else []
        for table in shown.tables:
            lines += [f"*{escape(table.caption)}*", ""] if table.caption else []
            lines += [*table_lines(table), ""]
        lines += [f"- {escape(note)}" for note in foot(shown)] + [""]
    return "\n".join(lines)
