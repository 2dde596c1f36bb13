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
KIND = "contents-2"
"""Kind of the cached checksums, to be changed with their form."""
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
    states = np.array([file_state(file) for file in files], dtype=np.int64).reshape(-1, 4)
    digests = np.zeros((len(files), 32), dtype=np.uint8)
    note_opened(files)
    places = _by_folder(files)
    known = _known(files, states, digests, places)
    left = int(states[~known, 0].sum())
    with _reading_alone(places) if left >= WORTH_WAITING else nullcontext():
        if left >= WORTH_WAITING:
            known = _known(files, states, digests, places)  # by now another process may have read them
        if not known.all():
            _read_and_keep(files, states, digests, np.flatnonzero(~known), places)
    found = {file: digest.tobytes().hex() for file, digest in zip(files, digests, strict=True)}
    return [found[os.path.abspath(path)] for path in paths]  # noqa: PTH100


def contents_sha256(index: SegmentationIndex, names: Sequence[str]) -> str:
    """Return a hash of the names of images, and of the contents of their files and of their label files."""
    digests = content_digests([*map(index.image_path, names), *map(index.label_file, names)])
    return fingerprint(list(zip(names, digests[: len(names)], digests[len(names) :], strict=True)))


def _known(files: Sequence[str], states: np.ndarray, digests: np.ndarray, places: dict[str, np.ndarray]) -> np.ndarray:
    """Fill in the kept digests; returns (F,) bool, of which files they are known or there are none."""
    known: np.ndarray = states[:, 0] < 0
    for folder, own in places.items():
        known[own] |= _look_up(folder, [files[place] for place in own], states[own], digests, own)
    return known


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


def _load(folder: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is kept of a folder: hashes of its files (F,) uint64 ascending, states (F, 4) and digests (F, 32)."""
    kept = load_arrays(KIND, _entry(folder)) or {}
    count = len(kept.get("names", ()))
    shapes = {"names": (count,), "states": (count, 4), "digests": (count, 32)}
    if {name: array.shape for name, array in kept.items()} == shapes:
        return kept["names"], kept["states"], kept["digests"]
    return np.zeros(0, np.uint64), np.zeros((0, 4), np.int64), np.zeros((0, 32), np.uint8)


def _names(files: Sequence[str]) -> np.ndarray:
    hashes = [hashlib.blake2b(os.fsencode(file), digest_size=8).digest() for file in files]
    return np.frombuffer(b"".join(hashes), dtype=np.uint64)


def _look_up(
    folder: str, files: Sequence[str], states: np.ndarray, digests: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """Fill in the kept digests of files whose state is as it was; returns (n,) bool, which of them those are."""
    kept_names, kept_states, kept_digests = _load(folder)
    if not len(kept_names):
        return np.zeros(len(files), dtype=bool)
    names = _names(files)
    rows = np.minimum(np.searchsorted(kept_names, names), len(kept_names) - 1)
    same: np.ndarray = (kept_names[rows] == names) & (kept_states[rows] == states).all(1)
    digests[places[same]] = kept_digests[rows[same]]
    return same


def _read_and_keep(
    files: Sequence[str], states: np.ndarray, digests: np.ndarray, new: np.ndarray, places: dict[str, np.ndarray]
) -> None:
    """Compute the digests of the files `new`; those of settled files are kept, also when that is interrupted."""
    settled = np.zeros(len(files), dtype=bool)
    latest = time.time_ns() - SETTLED_NS
    try:
        for place, digest in zip(new.tolist(), _digests([files[place] for place in new], states[new, 0]), strict=True):
            if digest is not None:
                digests[place] = np.frombuffer(digest, np.uint8)
                unchanged = file_state(files[place]) == tuple(states[place].tolist())
                settled[place] = unchanged and states[place, 2] < latest
    finally:
        for folder, own in places.items():
            kept = own[settled[own]]
            if len(kept):
                _save(folder, [files[place] for place in kept], states[kept], digests[kept])


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


def _save(folder: str, files: Sequence[str], states: np.ndarray, digests: np.ndarray) -> None:
    """Keep digests beside those that another process may have kept since."""
    kept_names, kept_states, kept_digests = _load(folder)
    names, first = np.unique(np.concatenate([_names(files), kept_names]), return_index=True)
    arrays = {"states": np.concatenate([states, kept_states])[first]}
    arrays["digests"] = np.concatenate([digests, kept_digests])[first]
    save_arrays(KIND, _entry(folder), {"names": names, **arrays})
