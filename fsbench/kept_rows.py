"""Rows of tables that were made before: their intervals take longer than all else.

A run's own rows are in its folder and travel with it, those of several runs in the user's cache folder. A row is found
under a hash of everything it follows from, the code included. A file is a convenience: a damaged one counts as absent,
and a folder that cannot be written to costs only time.
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
    name = fingerprint([_code(), asked, [_state(record) for record in records]])[:32]
    files = [cache_folder() / "rows" / name[:2] / f"{name[2:]}.json"]
    if len(records) == 1:
        files.insert(0, records[0].path / "rows" / f"{name}.json")
    for file in files:
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # what damaged values make `read` say
            return read(json.loads(file.read_text()))
    made = make()
    for file in files:
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(made))
            break
    return read(made)


def _state(record: Record) -> list[Any]:
    """Of a record's counts: what they are, the file they are in, and the protocol that says how they are scored."""
    try:
        file = sha256_file(record.path / "episodes.parquet")
    except OSError as error:
        raise RecordError(f"cannot read {record.path / 'episodes.parquet'} ({error.strerror}); {REPEAT}") from error
    rules = asdict(load_protocol(record.header["protocol"]))
    return [record.run["counts_sha256"], record.manifest_sha256, rules, file]


@cache
def _code() -> list[str]:
    return [sha256_file(Path(__file__).with_name(name)) for name in CODE]
