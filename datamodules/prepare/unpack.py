"""Unpack archives without trusting them: plain files only, to places that the caller chooses."""

import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from fsbench.base.download import require_space
from fsbench.base.errors import DataError
from fsbench.base.files import is_file, read_text, write_text
from fsbench.base.files.archives import DAMAGED, is_plain_tar, is_zip, open_tar, open_zip, start_of_page, tar_entries
from fsbench.data.file_digests import file_state
from fsbench.data.file_rules import refusal
from fsbench.datamodules.prepare.making import source_note

Place = Callable[[PurePosixPath], str | None]
"""Function from a name inside the archive to a path below the target folder, or None to leave the file out; it
may be asked for the same name several times."""


OTHER_DISK = "use another disk (--root, --from)"
"""Way out of a full disk."""


@dataclass(frozen=True)
class _Member:
    """An entry of an archive that is no folder.

    Attributes:
        name: its name inside the archive.
        size: bytes of its content.
        leads_out: True when its name leads out of the folder it is unpacked to.
        reason: why it cannot be unpacked, empty for a plain file.
        open: opens its content.
    """

    name: str
    size: int
    leads_out: bool
    reason: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, place: Place) -> int:
    """Write the files of a tar or zip archive for which `place` gives a path, below `folder`.

    Files that an interrupted call wrote from the same archive are kept; what another archive left behind is removed.

    Args:
        archive: the tar (plain or compressed) or zip file.
        folder: target folder, created when absent.
        place: function from a file of the archive to its path below `folder`, or None to leave the file out.

    Returns:
        Number of files for which `place` gives a path.

    Raises:
        DataError: the archive is truncated, damaged or no archive; the name of any entry leads out of the folder; a
            wanted entry is a link, a device or encrypted; `place` gives two files the same path; no space is left.
    """
    from tqdm import tqdm  # spares the commands that unpack nothing its import

    check_no_page(archive)
    _start_over_unless_same(archive, folder)
    sources: dict[str, str] = {}
    with (
        _open_members(archive, folder, place) as members,
        tqdm(desc=f"Unpacking {archive.name}", unit="file", disable=None) as bar,
    ):
        for member in members:
            if member.leads_out:
                raise refusal("archive_leads_out", f"archive {archive}", name=member.name)
            target = place(PurePosixPath(member.name))
            if target is None:
                continue
            if member.reason:
                raise DataError(
                    f"archive {archive} holds {member.name}, {member.reason}; expected plain files only; it is not "
                    "the publisher's archive; fetch it again"
                )
            if target in sources:
                raise DataError(
                    f"archive {archive} holds {target} twice, as {sources[target]} and {member.name}; expected it once"
                )
            sources[target] = member.name
            _write(member, folder / target)
            bar.update()
    return len(sources)


def check_no_page(archive: Path) -> None:
    """Raise DataError if the file is a web page under an archive's name, as failed downloads leave it."""
    start = start_of_page(archive) if archive.is_file() else ""
    if start:
        raise refusal("archive_web_page", archive, start=start)


def _start_over_unless_same(archive: Path, folder: Path) -> None:
    """Empty `folder` unless its contents come from this very archive, which the note beside it tells."""
    note = source_note(folder)
    source = f"{archive.name} {' '.join(map(str, file_state(archive)))}\n" if archive.is_file() else ""
    if folder.exists() and (not is_file(note) or read_text(note, "list") != source):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(note, source)


def _write(member: _Member, target: Path) -> None:
    """Write the content of `member` to `target`, unless a file of its size is there."""
    if target.is_file() and not target.is_symlink() and target.stat().st_size == member.size:
        return
    source = member.open()
    if source is None:
        raise EOFError(f"no content for {member.name}")
    with source, _disk_errors(target), target.open("wb") as file:
        for chunk in iter(lambda: _read(source), b""):
            file.write(chunk)
    if target.stat().st_size != member.size:
        raise EOFError(f"it ends inside {member.name}")


def _read(source: IO[bytes]) -> bytes:
    """Read the next MiB; errors of decompression that are OSErrors are told from those of writing."""
    try:
        return source.read(1 << 20)
    except OSError as error:
        raise tarfile.ReadError(str(error)) from error


@contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    """Create the folder of `target`, and turn failures to write into DataErrors."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError(
            f"cannot write {target}: there is a file in place of a folder, or a folder in place of a file; expected an "
            "archive that has each name once; fetch the publisher's archive"
        ) from error
    except OSError as error:
        raise DataError(f"cannot write {target} ({error.strerror}); make space and run it again") from error


@contextmanager
def _open_members(archive: Path, folder: Path, place: Place) -> Iterator[Iterator[_Member]]:
    """Yield the members of `archive`, of which `place` names the wanted ones; whatever reading it raises becomes a
    DataError."""
    try:
        if is_zip(archive):
            with open_zip(archive) as zip_file:
                wanted = (info.file_size for info in zip_file.infolist() if place(PurePosixPath(_name(info.filename))))
                require_space(folder, sum(wanted) - _bytes_in(folder), OTHER_DISK)
                yield _zip_members(zip_file)
        else:
            if is_plain_tar(archive):
                require_space(folder, archive.stat().st_size - _bytes_in(folder), OTHER_DISK)
            with open_tar(archive) as tar:
                yield _tar_members(tar, archive, folder)
    except DataError:
        raise
    except DAMAGED as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"archive {archive} is truncated or damaged ({reason}); expected a complete tar or zip file; fetch it again"
        ) from error


def _bytes_in(folder: Path) -> int:
    """Sum of the sizes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _tar_members(tar: tarfile.TarFile, archive: Path, folder: Path) -> Iterator[_Member]:
    """Yield the entries of `tar` as `tarfile.data_filter` judges them; EOFError where its end is missing."""
    for member in tar_entries(tar, archive):
        if member.isdir():
            continue
        member.name = _name(member.name)
        leads_out, reason = bool(re.match(r"/|[A-Za-z]:", member.name)), "" if member.isreg() else "a link"
        try:
            tarfile.data_filter(member, str(folder))
        except (tarfile.OutsideDestinationError, tarfile.AbsolutePathError):
            leads_out = True
        except tarfile.FilterError as error:
            reason = str(error).removeprefix(f"{member.name!r} is ")
        content = partial(tar.extractfile, member)
        yield _Member(member.name, member.size, leads_out, reason, content)


def _name(packed: str) -> str:
    """Return a name inside an archive; programs of Windows put backslashes between its folders."""
    return packed.replace("\\", "/")


def _zip_members(zip_file: zipfile.ZipFile) -> Iterator[_Member]:
    """Yield the entries of `zip_file`, whose own module filters neither names nor links."""
    for info in zip_file.infolist():
        if info.filename.endswith(("/", "\\")):  # `info.is_dir` fails for an empty name
            continue
        name, kind = _name(info.filename), stat.S_IFMT(info.external_attr >> 16)
        path = PurePosixPath(name)
        leads_out = path.is_absolute() or ".." in path.parts or bool(re.match(r"$|[A-Za-z]:", name))
        if kind not in (0, stat.S_IFREG):
            reason = "a link" if stat.S_ISLNK(kind) else "a special file"
        else:
            reason = "an encrypted file" if info.flag_bits & 1 else ""
        yield _Member(name, info.file_size, leads_out, reason, partial(zip_file.open, info))
