"""The cache folder: what took long to compute, kept until the room is needed.

An entry is `<folder>/<kind>/fsbench-<key>.<suffix>`, whatever its kind; it may have several files. Everything in it can
be made again, so files may vanish at any time: who has one open keeps its content, who comes later makes it again. A
file's time of writing is set whenever it is used; what was used longest ago goes first. Only files with such names are
looked at, whatever else the folder holds.
"""

import functools
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsbench.base.files.written import WRITING_SECONDS, is_half
from fsbench.base.paths import cache_folder, cache_size

UNFINISHED = "unfinished"
"""Kind of files that a process is writing, or was when it was killed."""

BLOCK = 4096
"""Bytes that a file takes at least."""

DAY = 86400.0

LOOKS = 64
"""Share of the cache's size that a process adds before it looks again what others have added."""

_KIND = re.compile(r"[a-z]+(-[a-z0-9]+)*")
_FILE = re.compile(r"fsbench-([0-9a-f]{32})\.[a-z0-9]+")


@dataclass(frozen=True)
class Entry:
    """A part of the cache that is kept or goes as a whole.

    Attributes:
        kind: name of its folder, or `UNFINISHED`.
        files: its files.
        size: bytes on the disk, in whole blocks.
        used: time of its last use in seconds since 1970.
    """

    kind: str
    files: tuple[Path, ...]
    size: int
    used: float

    @property
    def is_idle(self) -> bool:
        """Whether nobody is writing it."""
        return self.kind != UNFINISHED or self.used < time.time() - WRITING_SECONDS

    def remove(self) -> None:
        """Remove its files, as far as this user may."""
        for file in self.files:
            with suppress(OSError):
                file.unlink()


class Cache:
    """A folder of entries, and the room that they may take.

    Args:
        folder: made when the first entry is.
        limit: bytes.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        self._left = -1  # bytes that this process may add before it looks again

    def path(self, kind: str, key: str) -> Path:
        """Return where an entry is, without the suffix of its files.

        Args:
            kind: lower-case letters and digits, with hyphens; the name of a folder.
            key: at least 32 hexadecimal digits: a hash of everything that the content follows from, of which the first
                32 count.
        """
        return self.folder / kind / f"fsbench-{key[:32]}"

    def entries(self) -> list[Entry]:
        """Return what is in the folder; what was used longest ago comes first."""
        found: dict[tuple[str, str], list[os.DirEntry[str]]] = defaultdict(list)
        for file, kind, name in self._files():
            found[kind, name].append(file)
        entries = []
        for (kind, _), files in found.items():
            states = []
            for file in files:
                with suppress(OSError):  # another process removed it
                    states.append((Path(file.path), file.stat(follow_symlinks=False)))
            if states:
                size = sum(-(-state.st_size // BLOCK) * BLOCK for _, state in states)
                used = max(state.st_mtime for _, state in states)
                entries.append(Entry(kind, tuple(path for path, _ in states), size, used))
        return sorted(entries, key=lambda entry: (entry.used, entry.files))

    def _files(self) -> Iterator[tuple[os.DirEntry[str], str, str]]:
        """Yield the suite's files, each with its kind and the name of its entry."""
        for file in _scan(self.folder):
            if _is_folder(file) and _KIND.fullmatch(file.name):
                for inner in _scan(Path(file.path)):
                    if not inner.is_file(follow_symlinks=False):
                        continue
                    if match := _FILE.fullmatch(inner.name):
                        yield inner, file.name, match[1]
                    elif is_half(inner.name):
                        yield inner, UNFINISHED, inner.path
            elif file.is_file(follow_symlinks=False) and is_half(file.name):
                yield file, UNFINISHED, file.path

    def note_added(self, size: int) -> None:
        """Keep the cache within its size after a file of `size` bytes was added.

        The folder is looked through only when it may be full, or this process has added a part of its size. So several
        processes together may be over it by that part each, until the next of them looks.
        """
        self._left -= -(-size // BLOCK) * BLOCK
        if self._left < 0:
            self._left = min(self.trim(), self.limit // LOOKS)

    def trim(self) -> int:
        """Remove what was used longest ago until the cache is within its size; return how many bytes are left of it.

        Files that are being written stay, and count.
        """
        entries = self.entries()
        total = sum(entry.size for entry in entries)
        for entry in entries:
            if total <= self.limit:
                break
            if entry.is_idle:
                entry.remove()
                total -= entry.size
        return max(self.limit - total, 0)

    def clean(self, kinds: Sequence[str] = (), days: float = 0.0) -> list[Entry]:
        """Remove entries of some kinds, or of all, that were not used for so many days; return them."""
        before = time.time() - days * DAY
        chosen = [
            entry
            for entry in self.entries()
            if (not kinds or entry.kind in kinds) and entry.used <= before and entry.is_idle
        ]
        for entry in chosen:
            entry.remove()
        return chosen


def suite_cache() -> Cache:
    """Return the cache of this process's environment: `$FSBENCH_CACHE`, of `$FSBENCH_CACHE_SIZE`.

    Raises:
        SettingsError: the second is no size.
    """
    return _cache_of(cache_folder(), cache_size())


_cache_of = functools.cache(Cache)  # so that a process counts what it adds


def mark_used(*files: Path) -> None:
    """Note that files of the cache are used now; who may not write to them leaves them as they are."""
    for file in files:
        with suppress(OSError):
            os.utime(file)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as found:
        return list(found)
    return []


def _is_folder(file: os.DirEntry[str]) -> bool:
    return file.is_dir(follow_symlinks=False)
