"""Tar and zip archives, and how much their contents may grow."""

import re
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fsbench.base.files.opening import MIB, in_units, open_file

_EXPANSION = 200
"""Contents have at most as many times the archive's bytes; those of the data sets have less than ten times."""


@contextmanager
def open_zip(path: Path, kind: str = "archive") -> Iterator[zipfile.ZipFile]:
    """Open a zip archive, as large as files of `kind` may be.

    Raises:
        OSError: as `open_file`.
        zipfile.BadZipFile: it is damaged.
        ValueError: its files would be too large.
    """
    with open_file(path, kind) as file, zipfile.ZipFile(file) as archive:
        check_expansion(path, sum(info.file_size for info in archive.infolist()))
        yield archive


class CompressedEntriesError(ValueError):
    """A zip archive whose entries should be stored as they are has compressed ones."""


def check_stored(file: BinaryIO) -> None:
    """Raise CompressedEntriesError where `file`, open at its start, is a zip archive with compressed entries.

    torch reads these too, of any size, and writes none. The file is at its start afterwards.
    """
    if file.read(4) == b"PK\3\4":  # by which torch knows one
        with zipfile.ZipFile(file) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise CompressedEntriesError("it has compressed entries")
    file.seek(0)


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, compressed or not. Raises OSError as `open_file`, and whatever `tarfile` does."""
    with open_file(path, "archive") as file, tarfile.open(fileobj=file) as archive:
        yield archive


def start_of_page(path: Path) -> str:
    """Return the first words of a file that is a web page, whatever its name says; "" for any other file."""
    with open_file(path, "archive") as file:
        start = file.read(512).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    return start[:40].strip() if re.match(r"<(!doctype html|html|head|\?xml|!--)", start, re.IGNORECASE) else ""


def check_expansion(path: Path, size: int) -> None:
    """Raise ValueError where the contents of the archive `path`, so far of `size` bytes, cannot be those of photos."""
    most = _EXPANSION * path.stat().st_size + 64 * MIB
    if size > most:
        raise ValueError(f"its files have more than {in_units(most)}, {_EXPANSION} times the archive")
