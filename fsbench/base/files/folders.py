"""Folders that a command writes: beside their place first, then moved there whole, never over what is somebody's."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.files.opening import is_file, read_text
from fsbench.base.files.written import locked, make_folder, write_text

LISTING = ".fsbench-files.txt"
"""File in a written folder that lists all that was written to it."""
_UNFINISHED = ".fsbench-unfinished"
"""File by which a folder that is being written is known as one of fsbench."""
_NEW, _OLD = "new", "old"
"""Folders in it: for what is written, and for what that takes the place of."""


def check_free(out: Path, mark: str, kind: str) -> None:
    """Check that a command may write its folder to `out`.

    Args:
        out: the folder.
        mark: name of the file by which a folder that fsbench wrote is recognised.
        kind: one word for what the command writes, such as "report".

    Raises:
        SettingsError: `out` has files but lacks `mark`, holds a file that fsbench did not write, or is or contains the
            working folder.
    """
    if Path.cwd().is_relative_to(out):
        raise SettingsError(f"--out {out} is the working folder or holds it; expected a new folder, such as {kind}")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / mark).is_file()):
        raise SettingsError(f"--out {out} is there and is no {kind}; expected a new folder, or a {kind} to be replaced")
    check_removable(out, mark, f"--out {out}")


def check_removable(folder: Path, mark: str, name: str = "") -> None:
    """Raise SettingsError if `folder` has files, except `mark`, that `replacing_folder` did not write.

    `name` stands for the folder in the message; "" for the folder's path.
    """
    listing = folder / LISTING
    written = set(read_text(listing, "list").splitlines()) if is_file(listing) else set()
    foreign = [file for file in _files(folder) if file not in written | {LISTING, mark}]
    if foreign:
        raise SettingsError(
            f"{name or folder} holds {foreign[0]!a}, which fsbench is not known to have written; expected nothing else "
            "in a folder that is replaced; move it elsewhere, or choose a new folder"
        )


def remove_written(folder: Path, mark: str) -> None:
    """Remove a folder that `replacing_folder` wrote.

    Raises:
        SettingsError: the folder has files, besides `mark`, that `replacing_folder` did not write; then nothing is
            removed.
    """
    check_removable(folder, mark)
    shutil.rmtree(folder)


def _files(folder: Path) -> list[str]:
    """Return all that is in `folder` but folders, by paths in it, sorted; nothing where it is absent."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


@contextmanager
def replacing_folder(out: Path, mark: str, kind: str) -> Iterator[Path]:
    """Yield a temporary folder to write to; if the block ends without an error, it replaces the folder `out`.

    Args:
        out: the folder.
        mark: name of the file by which a folder that fsbench wrote is recognised.
        kind: one word for what the command writes, such as "report".

    Raises:
        SettingsError: `check_free` refuses `out`, before the block or after it.
    """
    with scratch_folder(out) as new:
        yield new
        check_free(out, mark, kind)
        write_text(new / LISTING, "".join(f"{file}\n" for file in _files(new)))
        place = out.resolve()  # where a link leads
        if place.exists():
            place.rename(new.parents[1] / _OLD)
        new.rename(place)


@contextmanager
def scratch_folder(out: Path, way_out: str | None = None) -> Iterator[Path]:
    """Yield an empty temporary folder named like `out`, which is removed at the end unless it was moved to `out`.

    The temporary folder is in a hidden folder beside `out`. If the process is killed, the next process that writes
    `out` removes these leftovers, and restores `out` if it was just being replaced.

    Args:
        out: the folder that is to be made.
        way_out: advice in the error if nothing can be written; None for the advice to choose another folder of runs.

    Raises:
        SettingsError: nothing can be written beside `out`, another process writes `out`, or a folder of the user has
            the name of the hidden folder.
    """
    out = out.resolve()
    make_folder(out.parent, *([way_out] if way_out else []))
    scratch = out.with_name(f".fsbench-{out.name}.new")
    with locked(
        out.with_name(f".fsbench-{out.name}.lock"),
        way_out or "choose another folder",
        f"another process is writing {out}; wait for it, or choose another folder",
    ):
        _clear(scratch, out)
        scratch.mkdir(exist_ok=True)
        (scratch / _UNFINISHED).touch()
        new = scratch / _NEW / out.name
        new.mkdir(parents=True)
        try:
            yield new
        finally:
            _clear(scratch, out)


def _clear(scratch: Path, out: Path) -> None:
    """Remove the folder in which `out` is written; what `out` was before gets its place back if that is empty."""
    if scratch.is_dir() and any(scratch.iterdir()) and not is_file(scratch / _UNFINISHED):
        raise SettingsError(f"{scratch} is not of fsbench; expected no such folder; move it elsewhere")
    old = scratch / _OLD
    if old.is_dir() and not os.path.lexists(out):
        old.rename(out)
    for folder in (scratch / _NEW, old):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # somebody has put a file there
        (scratch / _UNFINISHED).unlink()
        scratch.rmdir()
