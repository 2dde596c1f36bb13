"""The formats that tables are written in, by name."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from fsbench.results.sheets.data import as_json, sheets_csv, sheets_json
from fsbench.results.sheets.latex import latex
from fsbench.results.sheets.layout import Sheet as GridSheet
from fsbench.results.sheets.markdown import markdown
from fsbench.results.sheets.text import text
from fsbench.results.table import Sheet

Item = TypeVar("Item")

SHEETS: dict[str, Callable[[Sequence[Sheet | GridSheet]], str]] = {"text": text, "markdown": markdown, "latex": latex}

FORMATS = (*SHEETS, "csv", "json")


def write_sheets(form: str, sheets: Sequence[Sheet], width: int | None = None, wrap: bool = False) -> str:
    """Write sheets in the format `form`, one of `FORMATS`.

    Args:
        form: name of the format.
        sheets: what is written.
        width: characters that a line may take as text; None for any.
        wrap: wrap titles and notes to that width, too.
    """
    if form == "text":
        return text(sheets, width, wrap)
    writers = {**SHEETS, "csv": sheets_csv, "json": sheets_json}
    return writers[form](sheets)


def write_as(
    form: str,
    items: Sequence[Item],
    sheet: Callable[[Item, int | None], Sheet | GridSheet],
    to_csv: Callable[[Sequence[Item]], str],
    width: int | None = None,
    wrap: bool = False,
) -> str:
    """Write dataclasses in the format `form`, one of `FORMATS`.

    Args:
        form: name of the format.
        items: what is written; CSV and JSON hold all that they have.
        sheet: lays an item out, in `width` characters if that is given.
        to_csv: writes items as CSV.
        width: characters that a line may take as text.
        wrap: wrap titles and notes to that width, too.
    """
    if form == "csv":
        return to_csv(items)
    if form == "json":
        return as_json(items)
    if form == "text":
        return text([sheet(item, width) for item in items], width, wrap)
    return SHEETS[form]([sheet(item, None) for item in items])
