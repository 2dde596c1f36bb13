"""Folders that a command writes: beside their place first, then moved there whole, never over what is somebody's."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.files.opening import is_file, read_text
from fsbench.base.files.written import locked, make_folder, write_text

LISTING = ".fsbench-files.txt"
"""File in a written folder that lists all that was written to it."""


def check_free(out: Path, mark: str, kind: str) -> None:
    """Check that a folder of a command may be written to `out`.

    Args:
        out: the folder.
        mark: name of the file by which a folder of this kind is known.
        kind: one word for what is written, such as "report".

    Raises:
        SettingsError: `out` is neither absent, empty nor of that kind, holds a file that is not of the command, or is
            the working folder or holds it.
    """
    if Path.cwd().is_relative_to(out):
        raise SettingsError(f"--out {out} is the working folder or holds it; expected a new folder, such as {kind}")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / mark).is_file()):
        raise SettingsError(f"--out {out} is there and is no {kind}; expected a new folder, or a {kind} to be replaced")
    _check_only_written(out, f"--out {out}", mark)


def _check_only_written(folder: Path, name: str, *known: str) -> None:
    """Raise SettingsError about `name` if `folder` has a file besides `known` that `_replace_folder` did not write."""
    listing = folder / LISTING
    written = set(read_text(listing, "list").splitlines()) if is_file(listing) else set()
    foreign = [file for file in _files(folder) if file not in written | {LISTING, *known}]
    if foreign:
        raise SettingsError(
            f"{name} holds {foreign[0]!a}, which fsbench is not known to have written; expected nothing else in a "
            "folder that is replaced; move it elsewhere, or choose a new folder"
        )


def _files(folder: Path) -> list[str]:
    """Return all that is in `folder` but folders, by paths in it, sorted; nothing where it is absent."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _replace_folder(new: Path, out: Path, old: Path) -> None:
    """Move the folder `new`, with a list of its files, to `out`, and what it takes the place of to `old`.

    The caller has asked `_check_only_written`.
    """
    write_text(new / LISTING, "".join(f"{file}\n" for file in _files(new)))
    try:
        if out.exists():
            old.parent.mkdir()
            out.rename(old)
        new.rename(out)
    finally:
        _put_back(old, out)


def _put_back(old: Path, out: Path) -> None:
    """Give the folder `old` its name `out` again, where nothing has taken its place."""
    if old.is_dir() and not os.path.lexists(out):
        old.rename(out)


def check_removable(folder: Path, mark: str) -> None:
    """Check that `replacing_folder` wrote a folder and all in it.

    Raises:
        SettingsError: it has a file besides `mark` that is not in its list of written files.
    """
    _check_only_written(folder, str(folder), mark)


def remove_written(folder: Path, mark: str) -> None:
    """Remove a folder that `replacing_folder` wrote; raises what `check_removable` does, and removes nothing then."""
    check_removable(folder, mark)
    shutil.rmtree(folder)


@contextmanager
def replacing_folder(out: Path, mark: str, kind: str) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `out` when the block ends without an error.

    The arguments are those of `check_free`, which is asked again before anything is replaced.
    """
    with scratch_folder(out) as new:
        yield new
        check_free(out, mark, kind)
        _replace_folder(new, out, new.parents[1] / _OLD / out.name)


_UNFINISHED = ".fsbench-unfinished"
"""File in a scratch folder that its process holds locked as long as it lives."""
_LOCK = "lock"
_NEW, _OLD = "new", "old"
"""Folders in a scratch folder: for what is written, and for what that takes the place of."""
_PREFIX, _SUFFIX = ".fsbench-", ".new"
"""Beginning and end of the name of a scratch folder."""
_OPEN: set[Path] = set()
"""Scratch folders that this process writes to: a process is not kept out by its own locks."""


@contextmanager
def scratch_folder(out: Path, way_out: str | None = None) -> Iterator[Path]:
    """Give an empty folder of the name of `out`, to be filled and moved to `out`; if it is not, it is removed.

    It is in a hidden folder beside `out`, which a killed process leaves behind. The next one that writes beside it
    removes it: by its name and the file in it fsbench wrote it, and that nobody holds the lock of that file shows that
    its process is gone, on this machine and on others that share the disk.

    Args:
        out: the folder that is to be.
        way_out: what to do where nothing can be written; None for the words of folders of runs.

    Raises:
        SettingsError: nothing can be written beside `out`.
    """
    out = out.absolute()
    make_folder(out.parent, *([way_out] if way_out else []))
    _remove_left_over(out.parent)
    scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=out.parent)).resolve()
    _OPEN.add(scratch)
    try:
        with ExitStack() as ends:
            with suppress(SettingsError):  # a disk without locks, where nobody can know what is left over
                ends.enter_context(locked(scratch / _LOCK))
                (scratch / _LOCK).rename(scratch / _UNFINISHED)  # nobody sees it before it is locked
            new = scratch / _NEW / out.name
            new.mkdir(parents=True)
            try:
                yield new
            finally:
                _empty(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _OPEN.discard(scratch)


def _empty(scratch: Path) -> None:
    """Remove what is in a scratch folder but the file that says what it is, which is to be the last."""
    for name in (_NEW, _OLD):
        shutil.rmtree(scratch / name, ignore_errors=True)


def _remove_left_over(folder: Path) -> None:
    """Remove the scratch folders in `folder` of processes that are gone.

    A folder that was to be replaced when the process was killed gets its place back.
    """
    for scratch in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        if scratch.resolve() in _OPEN or not is_file(scratch / _UNFINISHED):
            continue
        with suppress(OSError, SettingsError), locked(scratch / _UNFINISHED):  # else: in use, or not to be locked
            for old in (scratch / _OLD).glob("*"):
                _put_back(old, folder / old.name)
            _empty(scratch)
        with suppress(OSError):  # somebody has put a file there
            scratch.rmdir()
