"""Checksums of files' contents, kept, and computed again only for files that are no longer those that were read.

Whatever asks "is this the file that I knew?" asks here. A file is known by its state: its size, its inode, its time of
writing, and that of its last change of state, which no copying tool sets back.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

from fsbench.base.errors import FsbenchError
from fsbench.base.files import fingerprint, locked, sha256_file
from fsbench.base.files.cache import entry_path
from fsbench.base.files.opening import MIB, note_opened
from fsbench.base.paths import cache_folder
from fsbench.data.dataset import SegmentationData
from fsbench.data.disk_cache import load_json, save_json

State = tuple[int, int, int, int]
ABSENT = (-1, 0, 0, 0)
UNREADABLE = "0" * 64
"""Checksum of what cannot be read, which decoding will report."""
KIND = "contents-4"
"""Kind of the cached checksums, to be changed with their form: for every file its state and its checksum."""
SETTLED_NS = 2 * 10**9
"""A file whose state changed less than this before it was read may change again without another time: disks count in
ticks. Its time of writing says nothing of that: whoever copies a file may set it, to one in the future as well."""
WORTH_WAITING = 64 * MIB
"""Bytes from which on one process reads files, and others wait for what it found."""
LOOKS_AGAIN = 0.1
"""Seconds until a waiting process looks again."""
_MOST_THREADS = 8


def file_state(path: str | Path) -> State:
    """Return a file's size in bytes, modification time and status-change time in ns, and inode; `ABSENT` if missing."""
    try:
        status = os.stat(path)  # noqa: PTH116 - Path.stat costs twice the time
    except (OSError, ValueError):
        return ABSENT
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def states_sha256(paths: Sequence[str | Path]) -> str:
    """Return a hash of sizes, times and inodes of files, which changes if any file is replaced or written to."""
    return fingerprint([file_state(path) for path in paths])


def content_digests(paths: Sequence[Path]) -> list[str]:
    """Return the sha256 of the content of every file; `UNREADABLE` for files that cannot be read.

    Checksums are kept in the disk cache and reused as long as the file's size, times and inode stay the same. A file
    that changed in the last seconds, or while it was read, is not cached. Several threads read; progress is shown after
    1 s.
    """
    files = [os.path.abspath(path) for path in paths]  # noqa: PTH100 - twice the time
    note_opened(files)
    states = {file: file_state(file) for file in files}
    found = _kept(states)
    new = {file: state for file, state in states.items() if file not in found}
    waits = sum(size for size, *_ in new.values()) >= WORTH_WAITING
    with _reading_alone({_folder(file) for file in new}) if waits else nullcontext():
        if waits:
            found |= _kept(new)  # by now another process may have read them
        found |= _read_and_keep({file: state for file, state in new.items() if file not in found})
    return [found[file] for file in files]


def contents_sha256(data: SegmentationData, names: Sequence[str]) -> str:
    """Return a hash of image names and of the contents of all files with their pixels and labels."""
    number, further = len(names), content_digests(data.further_files)
    digests = image_digests(data, names)
    own = list(zip(names, digests[:number], digests[number:], strict=True))
    return fingerprint([own, further] if further else own)


def image_digests(data: SegmentationData, names: Sequence[str]) -> list[str]:
    """Return the sha256 of each image's file, in the order of `names`, then those of their label files.

    Within the context manager `at_one_moment`, the files of each set of names are read only once.
    """
    asked = (data, tuple(names))
    if (known := _moment.get()) is None:
        known = {}
    if asked not in known:
        known[asked] = content_digests([*map(data.image_path, names), *map(data.label_file, names)])
    return known[asked]


_moment: ContextVar[dict[object, list[str]] | None] = ContextVar("_moment", default=None)


@contextmanager
def at_one_moment() -> Iterator[None]:
    """Within the block, compute the checksums of each set of images only once, as for many runs on the same data."""
    token = _moment.set({})
    try:
        yield
    finally:
        _moment.reset(token)


def _kept(states: Mapping[str, State]) -> dict[str, str]:
    """Return the checksums that are kept of files in these states, and those of absent files."""
    kept: dict[str, list[int | str]] = {}
    for folder in {_folder(file) for file, state in states.items() if state != ABSENT}:
        kept |= _load(folder)
    found = {file: UNREADABLE for file, state in states.items() if state == ABSENT}
    for file, state in states.items():
        *known, digest = kept.get(file, [""])
        if known == list(state):
            found[file] = str(digest)
    return found


@contextmanager
def _reading_alone(folders: set[str]) -> Iterator[None]:
    """Wait while another process reads the files of the same folders, such as another rank of a run, or another run.

    Where there are no locks, as on some network disks, every process reads them.
    """
    cache = cache_folder()
    with ExitStack() as stack:
        with suppress(OSError, FsbenchError):
            cache.mkdir(parents=True, exist_ok=True)
            waits = True
            while waits:
                try:
                    stack.enter_context(locked(cache / f".reading-{_key(*sorted(folders))[:16]}.lock"))
                    waits = False
                except BlockingIOError:
                    time.sleep(LOOKS_AGAIN)
        yield


def _folder(file: str) -> str:
    """Return the folder that holds a file's: a data set's folder has one entry of the cache."""
    return os.path.dirname(os.path.dirname(file))  # noqa: PTH120 - a tenth of the time


def _key(*folders: str) -> str:
    return hashlib.sha256(b"\0".join(map(os.fsencode, folders))).hexdigest()


def _load(folder: str) -> Mapping[str, list[int | str]]:
    """Return what is kept of a folder's files: state and checksum by name."""
    key = _key(folder)
    return _loaded(key, file_state(entry_path(KIND, key).with_suffix(".json")))


@lru_cache(maxsize=4)  # runs of a plan ask the same again and again
def _loaded(key: str, state: State) -> Mapping[str, list[int | str]]:
    """Read what is kept under a key, in a file of this state."""
    kept = load_json(KIND, key)
    return kept if isinstance(kept, dict) else {}


def _read_and_keep(states: Mapping[str, State]) -> dict[str, str]:
    """Compute the checksums of files; those of settled files are kept, also when that is interrupted."""
    from tqdm import tqdm  # spares commands that read nothing its import

    if not states:
        return {}
    found, settled = {}, {}
    latest = time.time_ns() - SETTLED_NS
    bar = tqdm(
        total=sum(size for size, *_ in states.values()), desc="Reading the images' contents", unit="B",
        unit_scale=True, delay=1, disable=None,
    )  # fmt: skip
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
    try:
        with bar:
            for (file, state), digest in zip(states.items(), pool.map(_digest, states), strict=True):
                bar.update(state[0])
                found[file] = digest
                if digest != UNREADABLE and file_state(file) == state and state[2] < latest:
                    settled[file] = [*state, digest]
    finally:
        pool.shutdown(cancel_futures=True)  # else who interrupts it waits for all files
        for folder in {_folder(file) for file in settled}:
            own = {file: entry for file, entry in settled.items() if _folder(file) == folder}
            save_json(KIND, _key(folder), {**_load(folder), **own})
    return found


def _digest(file: str) -> str:
    """Return a file's sha256; `UNREADABLE` where it cannot be read."""
    try:
        return sha256_file(Path(file))
    except OSError:
        return UNREADABLE
