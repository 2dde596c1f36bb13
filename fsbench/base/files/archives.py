"""Tar and zip archives: how much their contents may grow, and whether they are whole."""

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fsbench.base.files.opening import MIB, in_units, open_file

_EXPANSION = 200
"""Contents have at most as many times the archive's bytes; those of the data sets have less than ten times."""

DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
    NotImplementedError, RuntimeError, OverflowError,
)  # fmt: skip
"""Errors of reading an archive that is damaged."""


def is_zip(path: Path) -> bool:
    """Return whether a file begins like a zip archive.

    Raises:
        EOFError: the file is empty.
        OSError: the file is absent, unreadable or too large.
    """
    with open_file(path, "archive") as file:
        start = file.read(4)
    if not start:
        raise EOFError("it is empty")
    return start in (b"PK\3\4", b"PK\5\6")


def archive_problem(path: Path) -> str:
    """Return in words why a tar or zip archive is incomplete or damaged, by its end and checksums; "" if sound."""
    try:
        if page := start_of_page(path):
            return f"a web page that begins with {page!r}"
        if is_zip(path):
            with open_zip(path) as archive:
                damaged = archive.testzip()
                return f"its entry {damaged} is damaged" if damaged else ""
        with open_tar(path) as tar:
            for _ in tar_entries(tar, path):
                pass
        return ""
    except DAMAGED as error:
        return (str(error) or type(error).__name__).splitlines()[0]


@contextmanager
def open_zip(path: Path, kind: str = "archive") -> Iterator[zipfile.ZipFile]:
    """Open a zip archive within the block, up to the size limit for files of `kind`.

    Raises:
        OSError: the file is absent, unreadable or too large.
        zipfile.BadZipFile: it is damaged.
        ValueError: its unpacked files would be too large.
    """
    with open_file(path, kind) as file, zipfile.ZipFile(file) as archive:
        check_expansion(path, sum(info.file_size for info in archive.infolist()))
        yield archive


class CompressedEntriesError(ValueError):
    """A zip archive has compressed entries where only stored ones are allowed."""


def check_stored(file: BinaryIO) -> None:
    """Check that a file, open at its start, is not a zip archive with compressed entries.

    torch reads archives with compressed entries, whose unpacked size is unbounded, but never writes them. Afterwards
    the file is at its start again.

    Raises:
        CompressedEntriesError: the archive has compressed entries.
    """
    if file.read(4) == b"PK\3\4":  # by which torch knows one
        with zipfile.ZipFile(file) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise CompressedEntriesError("it has compressed entries")
    file.seek(0)


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, compressed or not, within the block.

    Raises:
        OSError: the file is absent, unreadable or too large.
        tarfile.TarError: it is not a tar archive.
    """
    with open_file(path, "archive") as file, tarfile.open(fileobj=file) as archive:
        yield archive


def is_plain_tar(path: Path) -> bool:
    """Return whether a file is a tar archive that is not compressed."""
    with open_file(path, "archive") as file:
        return file.read(262)[257:] == b"ustar"


def tar_entries(tar: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the entries of the archive `tar` in the file `path`.

    Raises:
        EOFError: the archive's end is missing.
        ValueError: its unpacked contents would be too large.
        tarfile.TarError: it is damaged.
    """
    size = 0
    for member in tar:
        if member.size < 0:  # by an extended header; tarfile would come back to it for ever
            raise ValueError("it has an entry of negative size")
        size += member.size
        check_expansion(path, size)
        yield member
    while tar.fileobj and tar.fileobj.read(MIB):  # to the very end, where a compressed one has its checksum
        pass
    # a plain tar that ends between two files looks complete to tarfile, but for the empty block at the end
    if is_plain_tar(path) and path.stat().st_size < tar.offset + tarfile.BLOCKSIZE:
        raise EOFError("its end is missing")


def start_of_page(path: Path) -> str:
    """Return the first 40 characters of a file if it is a web page; "" otherwise."""
    with open_file(path, "archive") as file:
        start = file.read(512).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    return start[:40].strip() if re.match(r"<(!doctype html|html|head|\?xml|!--)", start, re.IGNORECASE) else ""


def check_expansion(path: Path, size: int) -> None:
    """Raise ValueError if `size`, the unpacked bytes of the archive `path`, is too large compared with the archive."""
    most = _EXPANSION * path.stat().st_size + 64 * MIB
    if size > most:
        raise ValueError(f"its files have more than {in_units(most)}, {_EXPANSION} times the archive")
