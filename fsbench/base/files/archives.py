"""Tar and zip archives, whose headers and contents decompress to a bounded size."""

import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fsbench.base.files.opening import MIB, in_units, open_file

_HEADER = MIB
"""Largest extended header of an entry."""
_HEADER_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
                 tarfile.GNUTYPE_LONGLINK)  # fmt: skip
_AFTER_END = 64 * MIB
"""Most padding behind the last entry."""
_EXPANSION = 200
"""Contents have at most as many times the archive's bytes; those of the data sets have less than ten times."""
_DICTIONARY = 512 * MIB
"""Most memory for decompressing."""


class _Entry(tarfile.TarInfo):
    """An entry of a tar archive whose headers are read into memory up to `_HEADER`; sparse files and negative sizes are
    refused."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse_sparse()
        if self.size < 0:  # tarfile would go back, and round and round
            raise ValueError("it has an entry of negative size")
        if self.type in _HEADER_TYPES and self.size > _HEADER:
            raise ValueError(f"it has a header of {in_units(self.size)}; expected at most {in_units(_HEADER)}")
        return super()._proc_member(tar)  # type: ignore[misc]

    def _refuse_sparse(self, *_: Any) -> None:
        raise ValueError("it holds a sparse file")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


@contextmanager
def open_zip(path: Path, kind: str = "archive") -> Iterator[zipfile.ZipFile]:
    """Open a zip archive, as large as files of `kind` may be. Raises OSError as `open_file`, and ValueError where its
    files would be too large."""
    with open_file(path, kind) as file, zipfile.ZipFile(file) as archive:
        check_expansion(path, sum(info.file_size for info in archive.infolist()))
        yield archive


class CompressedEntriesError(ValueError):
    """A zip archive whose entries should be stored as they are has compressed ones."""


def check_stored(file: BinaryIO) -> None:
    """Raise CompressedEntriesError where `file`, open at its start, is a zip archive with compressed entries, and
    BadZipFile where it is a damaged one.

    torch reads these too, of any size, and writes none. The file is at its start afterwards.
    """
    if file.read(4) == b"PK\3\4":  # by which torch knows one
        with zipfile.ZipFile(file) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise CompressedEntriesError("it has compressed entries")
    file.seek(0)


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, compressed or not. Raises OSError as `open_file`, ValueError for headers that are too large,
    and whatever `tarfile` does."""
    with open_file(path, "archive") as file:
        if file.read(6) == b"\xfd7zXZ\0":
            file.seek(0)
            lzma.LZMADecompressor(memlimit=_DICTIONARY).decompress(file.read(1 << 16), 1)
        file.seek(0)
        with tarfile.open(fileobj=file, tarinfo=_Entry) as archive:
            yield archive


def check_expansion(path: Path, size: int) -> None:
    """Raise ValueError where the contents of the archive `path`, so far of `size` bytes, cannot be those of photos."""
    most = _EXPANSION * path.stat().st_size + 64 * MIB
    if size > most:
        raise ValueError(f"its files have more than {in_units(most)}, {_EXPANSION} times the archive")


def read_padding(archive: tarfile.TarFile) -> None:
    """Read a tar archive to its very end, where a compressed one is checked. Raises ValueError where that is far."""
    rest = 0
    while archive.fileobj and (part := archive.fileobj.read(MIB)):
        rest += len(part)
        if rest > _AFTER_END:
            raise ValueError("it goes on after its end")
