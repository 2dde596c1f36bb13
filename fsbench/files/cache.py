"""The cache folder as a whole: what is kept in it, and what goes when it takes more room than it may.

Everything in it can be made again, so that files may vanish at any time: who has one open keeps its content, who comes
later makes it again. A file's time of writing is set whenever it is used; what was used longest ago goes first. Only
files with the names that the suite gives are looked at, whatever else the folder holds.
"""

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsbench.files.written import is_half
from fsbench.paths import cache_folder, cache_size

KINDS = {
    "rows": "rows of tables, and what was measured of masks",
    "features": "features of classification's images",
    "pixels": "pixels of every class in label maps",
    "instances": "annotations of COCO",
    "contents": "checksums of image files",
    "images": "lists of images in folders of classes",
    "classes": "settings of methods and data sets that are named by their class",
    "unfinished": "of processes that were killed",
}
"""Kinds of entries, and what they are."""

BLOCK = 4096
"""Bytes that a file takes at least."""

DAY = 86400.0
WRITING_SECONDS = DAY
"""Age at which an unfinished file is one that nobody is writing any more."""

LOOKS = 64
"""Share of the cache's size that a process adds before it looks again what others have added."""

_ARRAYS = re.compile(r"([a-z]+)(-\d+)?-[0-9a-f]{32}\.(npz|json)")
_FEATURES = re.compile(r"([0-9a-f]{32})\.(f32|crc)")
_ROW = re.compile(r"[0-9a-f]{30}\.json")
_CLASS = re.compile(r"[0-9a-f]{32}\.yaml")


@dataclass(frozen=True)
class Entry:
    """A part of the cache that is kept or goes as a whole.

    Attributes:
        kind: one of `KINDS`.
        files: its files; the features of a data set have two.
        size: bytes on the disk, in whole blocks.
        used: time of its last use in seconds since 1970.
    """

    kind: str
    files: tuple[Path, ...]
    size: int
    used: float


def cache_entries() -> list[Entry]:
    """Return what is in the cache folder; what was used longest ago comes first."""
    found: dict[tuple[str, str], list[os.DirEntry[str]]] = defaultdict(list)
    for file, kind, name in _files(cache_folder()):
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


def _files(folder: Path) -> Iterator[tuple[os.DirEntry[str], str, str]]:
    """Yield the suite's files in the cache folder, each with its kind and the name of its entry."""
    places = [
        (folder, _ARRAYS, ""),
        (folder / "features", _FEATURES, "features"),
        (folder / "classes", _CLASS, "classes"),
    ]
    for place, names, kind in places + [(rows, _ROW, "rows") for rows in _row_folders(folder)]:
        for file in _regular(place):
            if is_half(file.name):
                yield file, "unfinished", file.path
            elif (match := names.fullmatch(file.name)) and (kind or match[1]) in KINDS:
                yield file, kind or match[1], match[1] if names is _FEATURES else file.path


def _row_folders(folder: Path) -> list[Path]:
    with suppress(OSError), os.scandir(folder / "rows") as found:
        return [Path(place.path) for place in found if re.fullmatch("[0-9a-f]{2}", place.name)]
    return []


def _regular(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as found:
        return [file for file in found if file.is_file(follow_symlinks=False)]
    return []


def mark_used(*files: Path) -> None:
    """Note that files of the cache are used now; who may not write to them leaves them as they are."""
    for file in files:
        with suppress(OSError):
            os.utime(file)


def note_added(size: int) -> None:
    """Keep the cache within its size after a file of `size` bytes was added.

    The folder is looked through only when it may be full, or this process has added a part of its size. So several
    processes together may be over it by that part each, until the next of them looks.
    """
    limit = cache_size()
    place = (cache_folder(), limit)
    left = _left.get(place, -1) - -(-size // BLOCK) * BLOCK
    _left[place] = left if left >= 0 else min(trim(limit), limit // LOOKS)


_left: dict[tuple[Path, int], int] = {}
"""Bytes that this process may add before it looks again, by folder and size of the cache."""


def trim(limit: int) -> int:
    """Remove what was used longest ago until the cache takes at most `limit` bytes; return how many are left of them.

    Files that are being written stay, and count.
    """
    entries = cache_entries()
    total = sum(entry.size for entry in entries)
    for entry in entries:
        if total <= limit:
            break
        if _is_idle(entry):
            remove([entry])
            total -= entry.size
    return max(limit - total, 0)


def clean(kinds: Sequence[str] = (), days: float = 0.0) -> list[Entry]:
    """Remove entries of some kinds, or of all, that were not used for so many days; return them."""
    before = time.time() - days * DAY
    chosen = [
        entry
        for entry in cache_entries()
        if (not kinds or entry.kind in kinds) and entry.used <= before and _is_idle(entry)
    ]
    remove(chosen)
    return chosen


def remove(entries: Iterable[Entry]) -> None:
    """Remove entries, as far as this user may."""
    for entry in entries:
        for file in entry.files:
            with suppress(OSError):
                file.unlink()


def _is_idle(entry: Entry) -> bool:
    return entry.kind != "unfinished" or entry.used < time.time() - WRITING_SECONDS
