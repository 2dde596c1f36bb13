"""Keep rows of whole folds in a file of results, which `benchmarks.speed.table` turns into a page."""

import json
from datetime import UTC, datetime
from pathlib import Path

import torch

from fsbench.engine.machine.cpu_kernels import cpu_fact
from fsbench.files import write_text

ORIGIN = (
    "Whole official folds; the opponent is our own reference after the authors' scheme: K·(N+1) images encoded an "
    "episode, one at a time, in the manifest's order, none kept, with the suite's own loader, metric and, unless a row "
    "says otherwise, heads."
)
NAMES = 2
"""Columns that name a row."""


def keep_rows(path: Path, table: str, columns: list[str], rows: list[list[str]]) -> None:
    """Add rows to a table of the file `path`; a row of the same name gives way to the new one.

    The file's date is that of the first and the last row.
    """
    content = json.loads(path.read_text()) if path.is_file() else {}
    older = content.get("tables", {}).get(table, {}).get("rows", [])
    new = {tuple(row[:NAMES]): row for row in [*older, *rows]}
    tables = content.get("tables", {}) | {table: {"columns": columns, "rows": list(new.values())}}
    machine = f"{cpu_fact('model name') or 'unknown processor'}, fp32, {torch.get_num_threads()} thread, torch " + (
        torch.__version__
    )
    date = datetime.now(UTC).date().isoformat()
    begun = content.get("date", date).split(" to ")[0]
    date = date if begun == date else f"{begun} to {date}"
    content = {"origin": ORIGIN, "date": date, "machine": machine, "tables": tables}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
