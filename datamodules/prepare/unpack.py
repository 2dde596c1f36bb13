"""Archives, unpacked without trusting them: plain files only, to places that the caller chooses."""

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from datamodules.prepare.download import require_space
from fsbench.errors import DataError
from fsbench.files import write_text

Place = Callable[[PurePosixPath], str | None]
"""Name inside the archive -> path below the target folder, or None for what is not wanted."""


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    kind: str
    """"file", "folder", or in words what it is else."""
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, place: Place) -> int:
    """Write the files of a tar or zip archive that `place` wants below `folder`; returns their number.

    A file that an interrupted call wrote from the same archive is kept; what another archive left behind is removed.

    Raises DataError for an archive that is truncated, damaged or no archive; for a name that leads out of the folder,
    whether wanted or not; for a wanted link, device or encrypted file; for two files of one place; without space.
    """
    from tqdm import tqdm

    _start_over_unless_same(archive, folder)
    taken: dict[str, str] = {}
    with _opened(archive, folder) as members, tqdm(desc=f"Unpacking {archive.name}", unit="file", disable=None) as bar:
        for member in members:
            name = _safe(member.name, archive)
            target = place(name) if member.kind != "folder" else None
            if target is None:
                continue
            if member.kind != "file":
                raise DataError(
                    f"archive {archive} holds {member.kind} {member.name}; expected plain files only; it is not the "
                    "publisher's archive; fetch it again"
                )
            if target in taken:
                raise DataError(
                    f"archive {archive} holds {target} twice, as {taken[target]} and {member.name}; expected it once"
                )
            taken[target] = member.name
            _write(member, folder / target, archive)
            bar.update()
    return len(taken)


def _start_over_unless_same(archive: Path, folder: Path) -> None:
    """Empty `folder` unless what is in it came from this very file, which a note beside the folder says."""
    note = _note_of(folder)
    status = archive.stat() if archive.is_file() else None
    source = f"{archive.name} {status.st_size} {status.st_mtime_ns}\n" if status else ""
    if folder.exists() and (not note.is_file() or note.read_text() != source):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(note, source)


def _note_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.from")


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name):
        raise DataError(
            f"archive {archive} holds the name {name!r}, which leads out of its folder; expected relative names; "
            "nothing of it was used; fetch the publisher's archive"
        )
    return path


def _write(member: _Member, target: Path, archive: Path) -> None:
    if target.is_file() and not target.is_symlink() and target.stat().st_size == member.size:
        return
    source = member.open()
    if source is None:
        raise EOFError(f"no content for {member.name}")
    with source, _writing(target), target.open("wb") as file:
        for chunk in iter(lambda: _read(source), b""):
            file.write(chunk)
    if target.stat().st_size != member.size:
        raise EOFError(f"it ends inside {member.name}")


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(1 << 20)
    except OSError as error:  # gzip's complaints are of this kind, too
        raise tarfile.ReadError(str(error)) from error


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataError(f"cannot write {target} ({error.strerror}); make space and run it again") from error


@contextmanager
def _opened(archive: Path, folder: Path) -> Iterator[Iterator[_Member]]:
    """The members of `archive`; what its reading raises becomes a DataError."""
    damaged = (
        tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
        NotImplementedError, RuntimeError,
    )  # fmt: skip
    try:
        with archive.open("rb") as file:
            start = file.read(4)
            if not start:
                raise EOFError("it is empty")
            is_zip = start in (b"PK\3\4", b"PK\5\6")
        if is_zip:
            with zipfile.ZipFile(archive) as zipped:
                require_space(folder, sum(info.file_size for info in zipped.infolist()) - _present(folder))
                yield _zip_members(zipped)
        else:
            if _plain(archive):
                require_space(folder, archive.stat().st_size - _present(folder))
            with tarfile.open(archive) as tar:
                yield _tar_members(tar, archive)
    except DataError:
        raise
    except damaged as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"archive {archive} is truncated or damaged ({reason}); expected a complete tar or zip file; fetch it again"
        ) from error


def _present(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _tar_members(tar: tarfile.TarFile, archive: Path) -> Iterator[_Member]:
    kinds = {
        tarfile.SYMTYPE: "the link", tarfile.LNKTYPE: "the hard link", tarfile.CHRTYPE: "the device",
        tarfile.BLKTYPE: "the device", tarfile.FIFOTYPE: "the pipe",
    }  # fmt: skip
    for member in tar:
        kind = "file" if member.isreg() else "folder" if member.isdir() else kinds.get(member.type, "the strange entry")
        yield _Member(member.name, member.size, kind, lambda member=member: tar.extractfile(member))  # type: ignore[misc]
    while tar.fileobj and tar.fileobj.read(1 << 20):  # a compressed one is checked at its very end
        pass
    # a plain tar that ends between two files looks complete to tarfile, but for the empty block at the end
    if _plain(archive) and archive.stat().st_size < tar.offset + tarfile.BLOCKSIZE:
        raise EOFError("its end is missing")


def _plain(archive: Path) -> bool:
    with archive.open("rb") as file:
        return file.read(262)[257:] == b"ustar"


def _zip_members(zipped: zipfile.ZipFile) -> Iterator[_Member]:
    for info in zipped.infolist():
        mode = info.external_attr >> 16
        kind = "folder" if info.is_dir() else "file"
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "the link" if stat.S_ISLNK(mode) else "the strange entry"
        elif info.flag_bits & 1:
            kind = "the encrypted file"
        yield _Member(info.filename, info.file_size, kind, lambda info=info: zipped.open(info))  # type: ignore[misc]


def publish(making: Path, target: Path) -> None:
    """Give the finished folder `making` its name."""
    if target.exists():
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    making.replace(target)
    _note_of(making).unlink(missing_ok=True)
