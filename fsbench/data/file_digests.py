"""Checksums of files' contents, kept, and computed again only for files that are no longer those that were read.

Whatever asks "is this the file that I knew?" asks here. A file is known by its state: its size, its inode, its time of
writing, and that of its last change of state, which no copying tool sets back.
"""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np

from fsbench.base.errors import FsbenchError
from fsbench.base.files import fingerprint, locked, sha256_file
from fsbench.base.files.cache import suite_cache
from fsbench.base.files.opening import MIB, note_opened
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.disk_cache import load_arrays, save_arrays

ABSENT = (-1, 0, 0, 0)
KIND = "contents-3"
"""Kind of the cached checksums, to be changed with their form."""
_RECORD = np.dtype([("name", "<u8"), ("state", "<i8", 4), ("digest", "u1", 32)])
"""A file: a hash of its name, its state, and its digest; zeros where it cannot be read."""
SETTLED_NS = 2 * 10**9
"""A file whose state changed less than this before it was read may change again without another time: disks count in
ticks. Its time of writing says nothing of that: whoever copies a file may set it, to one in the future as well."""
WORTH_WAITING = 64 * MIB
"""Bytes from which on one process reads files, and others wait for what it found."""
LOOKS_AGAIN = 0.1
"""Seconds until a waiting process looks again."""
_MOST_THREADS = 8


def file_state(path: str | Path) -> tuple[int, int, int, int]:
    """Return a file's size in bytes, its times of writing and of the last change of state in ns, and its inode.

    ABSENT where there is none.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - Path.stat costs twice the time
    except (OSError, ValueError):
        return ABSENT
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & (2**63 - 1)


def states_sha256(paths: Sequence[str | Path]) -> str:
    """Return one hash of the states of files, which is another one when any of them is replaced."""
    return hashlib.sha256(np.array([file_state(path) for path in paths], dtype=np.int64).tobytes()).hexdigest()


def content_digests(paths: Sequence[Path]) -> list[str]:
    """Return the sha256 of every file; zeros where it cannot be read, which decoding will report.

    Checksums are kept in the disk cache and hold for a file as long as its state is the same. Those of a file that
    changed a moment ago, or while it was read, are not kept. Files are read by several threads; a line of progress is
    on the standard error where that takes more than a second.
    """
    files = list(dict.fromkeys(os.path.abspath(path) for path in paths))  # noqa: PTH100 - twice the time
    note_opened(files)
    wanted = np.zeros(len(files), _RECORD)
    wanted["name"] = [_name(file) for file in files]
    wanted["state"] = np.array([file_state(file) for file in files], dtype=np.int64).reshape(-1, 4)
    places = _by_folder(files)
    new = _fill_in(wanted, places)
    waits = int(wanted["state"][new, 0].sum()) >= WORTH_WAITING
    with _reading_alone(places) if waits else nullcontext():
        if waits:
            new = _fill_in(wanted, places)  # by now another process may have read them
        if new.any():
            _read_and_keep(files, wanted, np.flatnonzero(new), places)
    found = {file: digest.tobytes().hex() for file, digest in zip(files, wanted["digest"], strict=True)}
    return [found[os.path.abspath(path)] for path in paths]  # noqa: PTH100


def contents_sha256(index: SegmentationIndex, names: Sequence[str]) -> str:
    """Return a hash of the names of images, and of the contents of their files and of their label files."""
    digests = content_digests([*map(index.image_path, names), *map(index.label_file, names)])
    return fingerprint(list(zip(names, digests[: len(names)], digests[len(names) :], strict=True)))


def _fill_in(wanted: np.ndarray, places: dict[str, np.ndarray]) -> np.ndarray:
    """Fill in the kept digests of unchanged files; return (F,) bool, True for files that must be read."""
    known = wanted["state"][:, 0] < 0
    for folder, own in places.items():
        kept = _load(folder)
        if len(kept):
            found = kept[np.minimum(np.searchsorted(kept["name"], wanted["name"][own]), len(kept) - 1)]
            same = (found["name"] == wanted["name"][own]) & (found["state"] == wanted["state"][own]).all(1)
            wanted["digest"][own[same]] = found["digest"][same]
            known[own[same]] = True
    return ~known


@contextmanager
def _reading_alone(folders: Iterable[str]) -> Iterator[None]:
    """Wait while another process reads the files of the same folders, such as another rank of a run, or another run.

    Where there are no locks, as on some network disks, every process reads them.
    """
    cache = suite_cache().folder
    key = hashlib.sha256(b"\0".join(map(os.fsencode, sorted(folders)))).hexdigest()
    with ExitStack() as stack:
        with suppress(OSError, FsbenchError):
            cache.mkdir(parents=True, exist_ok=True)
            waits = True
            while waits:
                try:
                    stack.enter_context(locked(cache / f".reading-{key[:16]}.lock"))
                    waits = False
                except BlockingIOError:
                    time.sleep(LOOKS_AGAIN)
        yield


def _by_folder(files: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the places of files by the folder that holds theirs: a data set's folder has one entry of the cache."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, file in enumerate(files):
        places[os.path.dirname(os.path.dirname(file))].append(place)  # noqa: PTH120
    return {folder: np.array(own) for folder, own in places.items()}


def _entry(folder: str) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()


def _name(file: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(file), digest_size=8).digest(), "little")


def _load(folder: str) -> np.ndarray:
    """Return the records that are kept of a folder's files, by ascending name."""
    kept = (load_arrays(KIND, _entry(folder)) or {}).get("files")
    return kept if kept is not None and kept.dtype == _RECORD and kept.ndim == 1 else np.zeros(0, _RECORD)


def _save(folder: str, records: np.ndarray) -> None:
    """Keep records beside those that another process may have kept since."""
    together = np.concatenate([records, _load(folder)])
    save_arrays(KIND, _entry(folder), {"files": together[np.unique(together["name"], return_index=True)[1]]})


def _read_and_keep(files: Sequence[str], wanted: np.ndarray, new: np.ndarray, places: dict[str, np.ndarray]) -> None:
    """Compute the digests of the files `new`; those of settled files are kept, also when that is interrupted."""
    settled = np.zeros(len(files), dtype=bool)
    latest = time.time_ns() - SETTLED_NS
    try:
        sizes = wanted["state"][new, 0]
        for place, digest in zip(new.tolist(), _digests([files[place] for place in new], sizes), strict=True):
            if digest is not None:
                state = wanted["state"][place]
                wanted["digest"][place] = np.frombuffer(digest, np.uint8)
                settled[place] = file_state(files[place]) == tuple(state.tolist()) and state[2] < latest
    finally:
        for folder, own in places.items():
            if settled[own].any():
                _save(folder, wanted[own[settled[own]]])


def _digests(files: Sequence[str], sizes: np.ndarray) -> Iterator[bytes | None]:
    # spared until it is needed
    from tqdm import tqdm

    bar = tqdm(
        total=int(sizes.sum()), desc="Reading the images' contents", unit="B", unit_scale=True, delay=1, disable=None
    )
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
    try:
        with bar:
            for digest, size in zip(pool.map(_digest, files), sizes.tolist(), strict=True):
                bar.update(size)
                yield digest
    finally:
        pool.shutdown(cancel_futures=True)  # else who interrupts it waits for all files


def _digest(file: str) -> bytes | None:
    """Return a file's sha256; None where it cannot be read."""
    with suppress(OSError):
        return bytes.fromhex(sha256_file(Path(file)))
    return None
