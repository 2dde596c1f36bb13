"""Files are written to a temporary name and renamed, so that a reader never sees half of one."""

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.base.files.opening import open_file

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.\d+\.new")


def sha256_file(path: Path) -> str:
    """Return the sha256 (hexadecimal) of a file.

    Raises:
        OSError: the file cannot be read.
    """
    with open_file(path, "archive") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to, which is renamed to `path` if the block succeeds, and removed if not.

    Args:
        path: the file.
        durable: wait until the content is on the disk before the file gets its name, so that a power cut leaves the old
            file or the whole new one; False is faster, for many files that can be made again.

    Raises:
        SettingsError: a folder, a device or a pipe has the name, which the file would replace.
    """
    if is_no_plain_file(path):
        raise SettingsError(f"cannot write to {path}, which is no plain file; expected a file, or a new name")
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # a long name with more to it would be too long
    temporary = path.with_name(f".{short}.{os.getpid()}.new")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)  # a rename is of its folder, not of the file
    finally:
        temporary.unlink(missing_ok=True)


def is_no_plain_file(path: Path) -> bool:
    """Return whether a folder, a device or a pipe has the name `path`; False for files and missing names."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # nothing has the name, or nothing can: writing says so
        return False


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that have no such thing for folders
            raise
    finally:
        os.close(number)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: the old file stays until the new one is complete."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def remove_halves(folder: Path, deep: bool = True) -> None:
    """Remove temporary files in `folder`, with `deep` also below it, that killed processes left unfinished.

    No other process may be writing there.
    """
    for path in folder.rglob(".*.new") if deep else folder.glob(".*.new"):
        if is_half(path.name):
            path.unlink(missing_ok=True)


def is_half(name: str) -> bool:
    """Return whether a file's name is that of an unfinished temporary file that `replacing` writes."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def locked(
    path: Path, way_out: str = "choose another folder of runs with RUNS=<folder>", refusal: str | None = None
) -> Iterator[None]:
    """Hold the lock file `path` within the block, so that no other process can.

    The lock ends with this process, however the process ends: no child process inherits it. (A lock by `flock` is
    inherited, and workers of a killed loader would hold it for seconds.) The file is removed when no process needs it.

    Args:
        path: the lock file, in a folder that exists.
        way_out: what the user can do if the disk supports no locks.
        refusal: message for the user if another process holds the lock; None raises BlockingIOError, for callers that
            wait.

    Raises:
        SettingsError: the disk supports no locks, or another process holds the lock and `refusal` is given.
        BlockingIOError: another process holds the lock and `refusal` is None.
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
    """Create the folder `path` and return it.

    Raises:
        SettingsError: that is impossible; the message ends with `way_out`.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # has no name that a killed process could leave behind
            pass
    except OSError as error:
        raise _not_writable(path, error.errno or errno.EIO, way_out) from error
    return path


def check_can_be_made(path: Path, way_out: str = _OTHER_FOLDER) -> None:
    """Check that the folder `path` could be created and written to, without creating anything.

    Raises:
        SettingsError: it could not; the message ends with `way_out`.
    """
    above = next((folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder)), Path("/"))
    if not above.is_dir():
        raise _not_writable(path, errno.EEXIST if above == path else errno.ENOTDIR, way_out)
    if not os.access(above, os.W_OK | os.X_OK):
        raise _not_writable(path, errno.EACCES, way_out)


def _not_writable(path: Path, number: int, way_out: str) -> SettingsError:
    return SettingsError(
        f"cannot write to {path} ({os.strerror(number)}); expected a folder that can be created and written to; "
        f"{way_out}"
    )


def fingerprint(values: Any) -> str:
    """Return the sha256 of plain values (dicts, lists, text, numbers), written as canonical JSON.

    >>> fingerprint({"b": 1, "a": [2]}) == fingerprint({"a": [2], "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
