"""Rows of tables that were made before, in the user's cache folder: their intervals take longer than all else.

A row is found under a hash of everything it follows from, the code included. A file is a convenience: a damaged one
counts as absent, and a folder that cannot be written to costs only time.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from fsbench.errors import RecordError
from fsbench.files import sha256_file, write_text
from fsbench.paths import cache_folder
from fsbench.protocol import load_protocol
from fsbench.records import REPEAT, Record, fingerprint

Row = TypeVar("Row")

CODE = ("counts.py", "scores.py", "stats.py", "tables.py", "trivial.py")
"""Modules that a row is made by."""


def kept_row(
    records: list[Record], asked: list[Any], make: Callable[[], dict[str, Any]], read: Callable[[dict[str, Any]], Row]
) -> Row:
    """What `read` makes of the plain values that `make` returns, or returned when the same was `asked` of the same
    `records`."""
    key = fingerprint([_code(), asked, [_state(record) for record in records]])
    file = cache_folder() / "rows" / key[:2] / f"{key[2:32]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # what damaged values make `read` say
        return read(json.loads(file.read_text()))
    made = make()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(made))
    return read(made)


def _state(record: Record) -> list[Any]:
    """Of a record's counts: what they are, whether their file is as it was when they were read, and the protocol that
    says how they are scored."""
    try:
        file = (record.path / "episodes.parquet").stat()
    except OSError as error:
        raise RecordError(f"cannot read {record.path / 'episodes.parquet'} ({error.strerror}); {REPEAT}") from error
    rules = asdict(load_protocol(record.header["protocol"]))
    return [record.run["counts_sha256"], record.manifest_sha256, rules, file.st_size, file.st_mtime_ns]


@cache
def _code() -> list[str]:
    return [sha256_file(Path(__file__).with_name(name)) for name in CODE]
