"""Folders that a command writes: beside their place first, then moved there whole, never over what is somebody's."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsbench.errors import SettingsError
from fsbench.files.written import make_folder


def check_free(out: Path, mark: str, kind: str) -> None:
    """Check that a folder of a command may be written to `out`.

    Args:
        out: the folder.
        mark: name of the file by which a folder of this kind is known.
        kind: one word for what is written, such as "report".

    Raises:
        SettingsError: `out` is neither absent, empty nor of that kind, or is the working folder or holds it.
    """
    if Path.cwd().is_relative_to(out):
        raise SettingsError(f"--out {out} is the working folder or holds it; expected a new folder, such as {kind}")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / mark).is_file()):
        raise SettingsError(f"--out {out} is there and is no {kind}; expected a new folder, or a {kind} to be replaced")


@contextmanager
def replacing_folder(out: Path, mark: str, kind: str) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `out` when the block ends without an error.

    The arguments are those of `check_free`, which is asked again before anything is replaced.
    """
    make_folder(out.parent)
    new, old = (out.with_name(f".{out.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        check_free(out, mark, kind)
        if out.exists():
            out.rename(old)
        new.rename(out)
    finally:
        if old.exists() and not out.exists():  # the new one could not be put there
            old.rename(out)
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
