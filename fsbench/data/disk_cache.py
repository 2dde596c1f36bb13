"""The disk cache: arrays and plain values that take long to compute, as files in the user's cache folder.

A file is an entry of `fsbench.base.files.cache`: of a kind, with a key that is a hash of everything it follows from.
It is a convenience: an unreadable one counts as absent, and a folder that cannot be written to costs only time. Files
of arrays are uncompressed .npz (a COCO split has millions of numbers), of values JSON; nothing is pickled.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.files import read_json, replacing
from fsbench.base.files.arrays import read_npz
from fsbench.base.files.cache import entry_path, mark_used, trim_cache
from fsbench.base.paths import cache_folder
from fsbench.base.terminal import print_note


def load_arrays(kind: str, key: str) -> dict[str, np.ndarray] | None:
    """Return the {name: array} saved in the disk cache under `kind` and `key`; None if absent or damaged."""
    return _load(_file(kind, key, "npz"), read_npz)


def save_arrays(kind: str, key: str, arrays: dict[str, np.ndarray]) -> None:
    """Save the {name: array} in the disk cache under `kind` and `key`; if that is impossible, a note is printed."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its only keyword of another type is no name of an array

    _save(_file(kind, key, "npz"), write)


def load_json(kind: str, key: str) -> Any | None:
    """Return the JSON value saved in the disk cache under `kind` and `key`; None if absent or damaged."""
    return _load(_file(kind, key, "json"), lambda path: read_json(path, "cache"))


def save_json(kind: str, key: str, value: Any) -> None:
    """Save a JSON value in the disk cache under `kind` and `key`; if that is impossible, a note is printed."""
    _save(_file(kind, key, "json"), lambda temporary: temporary.write_text(json.dumps(value)))


def _load(path: Path, read: Callable[[Path], Any]) -> Any | None:
    try:
        value = read(path)
    except (OSError, ValueError):
        return None
    mark_used(path)
    return value


def _save(path: Path, write: Callable[[Path], Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as temporary:
            write(temporary)
        trim_cache()
    except OSError as error:
        _say_not_kept(f"{cache_folder()} ({error.strerror or error})")


@cache
def _say_not_kept(where: str) -> None:
    """Say once in a process where nothing can be kept, and why."""
    print_note(
        f"cannot keep counts and checksums in {where}; they are made again in every run; set FSBENCH_CACHE to a folder "
        "that can be written to"
    )


def _file(kind: str, key: str, suffix: str) -> Path:
    return entry_path(kind, key).with_suffix(f".{suffix}")
