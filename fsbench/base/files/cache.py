"""The cache folder: what took long to compute, kept until the room is needed.

An entry is `<folder>/<kind>/fsbench-<key>.<suffix>`, whatever its kind; it may have several files. Everything in it can
be made again, so files may vanish at any time: who has one open keeps its content, who comes later makes it again. A
file's time of writing is set whenever it is used; what was used longest ago goes first. Only files with such names are
looked at, whatever else the folder holds.
"""

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsbench.base.files.written import is_half
from fsbench.base.paths import cache_folder, cache_size

BLOCK = 4096
"""Bytes that a file takes at least."""

DAY = 86400.0
"""Seconds, after which nobody is writing an unfinished file any more."""

_KIND = re.compile(r"[a-z]+(-[a-z0-9]+)*")
_FILE = re.compile(r"fsbench-([0-9a-f]{32})\.[a-z0-9]+")


@dataclass(frozen=True)
class Entry:
    """Files of the disk cache that are kept or removed together.

    Attributes:
        kind: kind of content, which is the name of the folder that the files are in.
        files: paths of the files.
        size: bytes that the files take on the disk, in whole blocks.
        used: time of the entry's last use in seconds since 1970.
    """

    kind: str
    files: tuple[Path, ...]
    size: int
    used: float

    def remove(self) -> None:
        """Remove the entry's files; those that cannot be removed stay."""
        for file in self.files:
            with suppress(OSError):
                file.unlink()


def entry_path(kind: str, key: str) -> Path:
    """Return the path of a disk-cache entry, without the suffixes of its files.

    Args:
        kind: name of the entry's folder: lower-case letters and digits, with hyphens.
        key: hash of everything that the content depends on, at least 32 hexadecimal digits, of which the first 32 are
            used.
    """
    return cache_folder() / kind / f"fsbench-{key[:32]}"


def cache_entries() -> list[Entry]:
    """Return the entries of the cache, the one used longest ago first."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for file in _files():
        if (match := _FILE.fullmatch(file.name)) and file.is_file() and not file.is_symlink():
            found[file.parent.name, match[1]].append(file)
    entries = []
    for (kind, _), files in found.items():
        with suppress(OSError):  # another process removed it
            states = [file.stat() for file in files]
            size = sum(-(-state.st_size // BLOCK) * BLOCK for state in states)
            entries.append(Entry(kind, tuple(files), size, max(state.st_mtime for state in states)))
    return sorted(entries, key=lambda entry: (entry.used, entry.files))


def trim_cache() -> None:
    """Remove leftovers of killed processes, then the least recently used entries until the cache fits its size.

    Raises:
        SettingsError: `$FSBENCH_CACHE_SIZE` is not a size.
    """
    for file in (file for file in _files() if is_half(file.name)):
        with suppress(OSError):
            if file.stat().st_mtime < time.time() - DAY:
                file.unlink()
    entries, limit = cache_entries(), cache_size()
    total = sum(entry.size for entry in entries)
    for entry in entries:
        if total <= limit:
            break
        entry.remove()
        total -= entry.size


def clean_cache(kinds: Sequence[str] = (), days: float = 0.0) -> list[Entry]:
    """Remove the cache's entries of these kinds (() for all) that were not used for `days`, and return them."""
    latest = time.time() - days * DAY
    chosen = [entry for entry in cache_entries() if (not kinds or entry.kind in kinds) and entry.used <= latest]
    for entry in chosen:
        entry.remove()
    return chosen


def mark_used(*files: Path) -> None:
    """Set the time of last use of cache files; do nothing if they cannot be written to."""
    for file in files:
        with suppress(OSError):
            os.utime(file)


def _files() -> Iterator[Path]:
    """Yield all that is in the folders of the cache's kinds; nothing of those that cannot be looked into."""
    with suppress(OSError):
        for folder in list(cache_folder().iterdir()):
            if _KIND.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                with suppress(OSError):
                    yield from list(folder.iterdir())
