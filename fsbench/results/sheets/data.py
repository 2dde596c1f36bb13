"""Results and tables as CSV and JSON."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from math import isnan
from typing import Any

from fsbench.results.rows.row import ResultRow, rows_frame
from fsbench.results.table import Form, Sheet, Table
from fsbench.scores.estimate import Estimate

NUMBER = re.compile(r"[+-]?[\d.]+(e[+-]\d+)?( \[[-+\d., ]+\]°?| \(\d+ (?:images?|class(?:es)?)\)| \(identical\))?\*?")


def word(text: str) -> str:
    """Write a text as a CSV cell that no spreadsheet runs as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not NUMBER.fullmatch(text) else text


def csv_text(lines: Iterable[Sequence[object]]) -> str:
    """Write lines of cells as CSV text; texts are made safe against being run as formulas."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([word(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
    return out.getvalue()


def rows_csv(rows: Iterable[ResultRow]) -> str:
    """Return results as CSV text, with the columns of `fsbench.results.rows.row.COLUMNS`."""
    frame = rows_frame(rows)
    return csv_text([frame.columns, *(["" if cell is None else cell for cell in row] for row in frame.rows())])


def sheets_csv(sheets: Sequence[Sheet]) -> str:
    """Return the tables of sheets (tables with notes) as CSV text; tables with the same columns share a heading."""
    lines: list[Sequence[object]] = []
    head: list[str] = []
    for table in (table for sheet in sheets for table in sheet.tables):
        for record in table_records(table):
            if list(record) != head:
                head = list(record)
                lines.append(head)
            lines.append(["" if value is None else value for value in record.values()])
    return csv_text(lines)


def sheets_json(sheets: Sequence[Sheet]) -> str:
    """Return sheets as JSON text: for each its title, lead text, tables (a dictionary for each line) and notes."""
    return as_json(
        [
            {
                "title": sheet.title,
                "lead": sheet.lead,
                "tables": [{"caption": table.caption, "lines": table_records(table)} for table in sheet.tables],
                "notes": sheet.notes,
            }
            for sheet in sheets
        ]
    )


def table_records(table: Table) -> list[dict[str, float | str | None]]:
    """Return a table's lines as dictionaries {column key or heading: value}, for CSV and JSON.

    A score or difference is followed by the ends of its interval, as "mIoU low" and "mIoU high"; columns that only hold
    intervals are left out.
    """
    records = []
    for line in table.lines:
        record: dict[str, float | str | None] = {}
        for cell, column in zip(line.cells, table.columns, strict=True):
            name = column.key or column.head
            if column.form is Form.INTERVAL:
                continue
            record[name] = cell.value
            if column.metric:
                found = cell.estimate
                low, high = (found.low, found.high) if found else (None, None)
                record |= {f"{name} low": low, f"{name} high": high}
        records.append({name: None if isinstance(v, float) and isnan(v) else v for name, v in record.items()})
    return records


def as_json(items: Sequence[Any]) -> str:
    """Return dataclasses or JSON values as JSON text; NaN becomes null."""
    return json.dumps(_plain(items), indent=2, ensure_ascii=False) + "\n"


def plain_score(score: Estimate) -> dict[str, Any]:
    """Return a score, with its interval and what the interval covers, as JSON values."""
    values: dict[str, Any] = _plain(score)
    return values


def _plain(value: Any) -> Any:
    """Return values of JSON: rows with the columns of a frame, other dataclasses as dicts, and None for NaN."""
    if isinstance(value, ResultRow):
        return _plain(value.cells())
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and isnan(value) else value
