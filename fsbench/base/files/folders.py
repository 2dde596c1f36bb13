"""Folders that a command writes: beside their place first, then moved there whole, never over what is somebody's."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.files.opening import is_file, read_text
from fsbench.base.files.written import make_folder, write_text

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


def _replace_folder(new: Path, out: Path) -> None:
    """Move the folder `new`, with a list of its files, to `out`, and remove what it takes the place of.

    The caller has asked `_check_only_written`.
    """
    write_text(new / LISTING, "".join(f"{file}\n" for file in _files(new)))
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    try:
        if out.exists():
            out.rename(old)
        new.rename(out)
    finally:
        if old.exists() and not out.exists():  # the new one could not be put there
            old.rename(out)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def replacing_folder(out: Path, mark: str, kind: str) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `out` when the block ends without an error.

    The arguments are those of `check_free`, which is asked again before anything is replaced.
    """
    make_folder(out.parent)
    new = out.with_name(f".{out.name}.{os.getpid()}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        check_free(out, mark, kind)
        _replace_folder(new, out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
