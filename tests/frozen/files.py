"""Frozen text files: a header of comments, then a line for each entry, sorted; and the comparison of two states."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fsbench.base.files import write_text

FOLDER = Path(__file__).parent
SHOWN = 40
"""Number of moved entries that a failed test names at most."""
DIGITS = 16
"""First hexadecimal digits of a hash that are kept."""

Entries = Mapping[str, str]
"""Key of an entry -> its value, both of one line and without tabulators."""
Same = Callable[[str, str], bool]


def digest(value: Any) -> str:
    """Return the first digits of the sha256 of a value's compact JSON."""
    return hashlib.sha256(compact(value).encode()).hexdigest()[:DIGITS]


def compact(value: Any) -> str:
    """Return a value as JSON in one line, with sorted keys."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def path_of(group: str) -> Path:
    """Return the frozen file of a group of entries."""
    return FOLDER / f"{group}.txt"


def read_frozen(group: str) -> dict[str, str]:
    """Read the entries of a frozen file. Raises ValueError for a line without a key, and for a key that is there twice.

    A file that is absent has no entries.
    """
    path = path_of(group)
    entries: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines() if path.is_file() else [], 1):
        if line.startswith("#"):
            continue
        key, tab, value = line.partition("\t")
        if not (key and tab) or key in entries:
            raise ValueError(f"{path}:{number} is {line[:80]!r}, expected a new key, a tabulator and its value")
        entries[key] = value
    return entries


def write_frozen(group: str, about: str, entries: Entries) -> None:
    """Write the entries of a group, sorted by their keys, under a header that says what they are.

    Args:
        group: name of the file.
        about: the header's lines.
        entries: all entries of the file.
    """
    lines = [f"# {line}".rstrip() for line in about.strip().splitlines()]
    lines += [f"{key}\t{entries[key]}" for key in sorted(entries)]
    write_text(path_of(group), "".join(f"{line}\n" for line in lines))


def moved_entries(frozen: Entries, now: Entries, same: Same = str.__eq__) -> list[str]:
    """Describe every entry that differs, in the order of the keys.

    Args:
        frozen: entries as they were.
        now: entries as they are.
        same: returns whether a frozen value and one of now count as the same.

    Returns:
        A line for each: its key, what it was and what it is.
    """
    return [
        f"{key}: {_difference(frozen.get(key), now.get(key))}"
        for key in sorted(frozen.keys() | now.keys())
        if key not in frozen or key not in now or not same(frozen[key], now[key])
    ]


def _difference(old: str | None, new: str | None) -> str:
    return f"was {'absent' if old is None else old}, is {'absent' if new is None else new}"


def report(group: str, moved: Iterable[str]) -> str:
    """Return the message of a failed comparison: what moved, and the commands that show and freeze it."""
    lines = list(moved)
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(
        [
            f"{len(lines)} entries of {path_of(group).name} moved:",
            *(f"  {line}" for line in [*lines[:SHOWN], *more]),
            f"show all: python -m tests.frozen {group}",
            f"if it is a correction that is meant and named: python -m tests.frozen {group} --write",
        ]
    )
