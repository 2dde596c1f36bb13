"""The formats that tables are written in, by name."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fsbench.results.rows.row import ResultRow
from fsbench.results.sheets.data import as_json, rows_csv, sheets_csv, sheets_json
from fsbench.results.sheets.latex import latex
from fsbench.results.sheets.markdown import markdown
from fsbench.results.sheets.text import text
from fsbench.results.table import Sheet

SHEETS: dict[str, Callable[[Sequence[Sheet]], str]] = {"text": text, "markdown": markdown, "latex": latex}

FORMATS = (*SHEETS, "csv", "json")


def write_sheets(form: str, sheets: Sequence[Sheet], width: int | None = None, wrap: bool = False) -> str:
    """Write sheets in the format `form`, one of `FORMATS`.

    Args:
        form: name of the format.
        sheets: tables with titles and notes to write.
        width: largest number of characters in a line of the text format; None for any.
        wrap: wrap titles and notes to that width, too.
    """
    if form == "text":
        return text(sheets, width, wrap)
    writers = {**SHEETS, "csv": sheets_csv, "json": sheets_json}
    return writers[form](sheets)


def write_results(
    form: str,
    sheets: Sequence[Sheet],
    rows: Iterable[ResultRow],
    values: Sequence[Any],
    width: int | None = None,
    wrap: bool = False,
) -> str:
    """Write results in the format `form`, one of `FORMATS`.

    Args:
        form: name of the format.
        sheets: tables for the formats that people read (text, Markdown, LaTeX).
        rows: all scores and differences, for CSV.
        values: dataclasses or JSON values with all results, for JSON.
        width: largest number of characters in a line of the text format; None for any.
        wrap: wrap titles and notes to that width, too.
    """
    if form == "csv":
        return rows_csv(rows)
    return as_json(values) if form == "json" else write_sheets(form, sheets, width, wrap)
