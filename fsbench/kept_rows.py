"""Rows of tables that were made before, in the user's cache folder: their intervals take longer than all else.

A row is found under a hash of everything it follows from, the code included. A file is a convenience: a damaged one
counts as absent, and a folder that cannot be written to costs only time.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from fsbench.files import sha256_file, write_text
from fsbench.paths import cache_folder
from fsbench.records import Record, fingerprint

CODE = ("counts.py", "scores.py", "stats.py", "tables.py", "trivial.py")
"""Modules that a row is made by."""


def kept_row(records: list[Record], asked: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` returns, plain values, or returned when the same was `asked` of the same `records`."""
    key = fingerprint([_code(), asked, [_state(record) for record in records]])
    file = cache_folder() / "rows" / key[:2] / f"{key[2:32]}.json"
    with suppress(OSError, ValueError):
        return dict(json.loads(file.read_text()))
    made = make()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(made))
    return made


def _state(record: Record) -> list[Any]:
    """Of a record's counts: what they are, and whether their file is as it was when they were read."""
    file = (record.path / "episodes.parquet").stat()
    return [record.run["counts_sha256"], record.manifest_sha256, file.st_size, file.st_mtime_ns]


@cache
def _code() -> list[str]:
    return [sha256_file(Path(__file__).with_name(name)) for name in CODE]
