"""Files are written to a temporary name and renamed, so that a reader never sees half of one."""

import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.base.files.opening import open_file

_TEMPORARY = re.compile(r"\.([0-9a-f]{16})\.\d+\.new")

WRITING_SECONDS = 86400.0
"""Age at which an unfinished file is one that nobody is writing any more."""


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file. Raises OSError where it is none that can be read."""
    with open_file(path, "archive") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to `path` when the block ends well, removed otherwise.

    Args:
        path: the file.
        durable: wait until the content is on the disk before the file gets its name, so that a power cut leaves the old
            file or the whole new one; False for files that can be made again and are many.

    Raises:
        SettingsError: a folder, a device or a pipe has the name, which a file would take the place of.
    """
    if path.exists() and not path.is_file():
        raise SettingsError(f"cannot write to {path}, which is no plain file; expected a file, or a new name")
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # a long name with more to it would be too long
    temporary = path.with_name(f".{short}.{os.getpid()}.new")
    for half in _left_over(path.absolute().parent).pop(short, []) if durable else ():
        half.unlink(missing_ok=True)
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache
def _left_over(folder: Path) -> dict[str, list[Path]]:
    """Return the files in `folder` that killed processes left unfinished, by the hash of the names they were to get.

    A process looks once, at its first file there. Names alone do not show that fsbench wrote a file; that the hash is
    of the name which is written now does, so nothing else is removed.
    """
    found: dict[str, list[Path]] = {}
    with suppress(OSError):
        for path in folder.iterdir():
            if (name := _TEMPORARY.fullmatch(path.name)) and path.lstat().st_mtime < time.time() - WRITING_SECONDS:
                found.setdefault(name[1], []).append(path)
    return found


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk: a rename is of its folder, not of the file."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that have no such thing
            raise
    finally:
        os.close(number)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    with replacing(path, durable) as temporary:
        temporary.write_text(text)


def remove_halves(folder: Path, deep: bool = True) -> None:
    """Remove what killed processes left of files they were writing in `folder` (`deep`: and below it); for who alone
    writes there."""
    for path in folder.rglob(".*.new") if deep else folder.glob(".*.new"):
        if is_half(path.name):
            path.unlink(missing_ok=True)


def is_half(name: str) -> bool:
    """Return whether a file of this name is one that `replacing` has not given its own yet."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def locked(
    path: Path, way_out: str = "choose another folder of runs with RUNS=<folder>", refusal: str | None = None
) -> Iterator[None]:
    """Hold the lock file `path`; no other process can meanwhile.

    The lock ends with this process, however that ends: no child inherits it (as `flock` would have it: workers of a
    killed loader hold on for seconds). The file is gone when nobody needs it.

    Args:
        path: the file, in a folder that is there.
        way_out: what to do where the disk has no locks.
        refusal: message for the user where another process holds the lock; None for callers that wait for it.

    Raises:
        SettingsError: the disk has no locks, or another process holds the lock and there is a `refusal`.
        BlockingIOError: another process holds the lock and there is no `refusal`.
    """
    while True:
        file = path.open("w")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno in (errno.EACCES, errno.EAGAIN):
                if refusal is not None:
                    raise SettingsError(refusal) from error
                raise BlockingIOError(error.errno, "locked", str(path)) from error
            raise SettingsError(
                f"cannot lock {path} ({error.strerror}); expected a file system with locks, so that two processes "
                f"never write the same files; {way_out}"
            ) from error
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        except FileNotFoundError:
            pass
        file.close()  # who held it before removed it: ours is no longer the one that others see
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


_OTHER_FOLDER = "choose another (of runs with RUNS=<folder> or --runs <folder>)"


def make_folder(path: Path, way_out: str = _OTHER_FOLDER) -> Path:
    """Create `path` and return it. Raises SettingsError, which ends with `way_out`, where nothing can be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # has no name that a killed process could leave behind
            pass
    except OSError as error:
        raise _not_writable(path, str(error.strerror), way_out) from error
    return path


def check_can_be_made(path: Path) -> None:
    """Raise SettingsError where the folder `path` could not be made or written to; nothing is made."""
    above = next((folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder)), Path("/"))
    if not above.is_dir():
        raise _not_writable(path, os.strerror(errno.EEXIST if above == path else errno.ENOTDIR))
    if not os.access(above, os.W_OK | os.X_OK):
        raise _not_writable(path, os.strerror(errno.EACCES))


def _not_writable(path: Path, reason: str, way_out: str = _OTHER_FOLDER) -> SettingsError:
    return SettingsError(
        f"cannot write to {path} ({reason}); expected a folder that can be created and written to; {way_out}"
    )


def fingerprint(values: Any) -> str:
    """sha256 of plain values in canonical JSON; names what a run is."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
