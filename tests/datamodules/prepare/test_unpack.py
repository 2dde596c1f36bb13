"""Archives that are damaged or mean harm."""

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from fsbench.base.download import Digest, RetryPolicy
from fsbench.base.errors import DataError
from fsbench.data.source import Archive
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.unpack import unpack
from tests.web import serve

FILES = {"top/a/1.txt": b"one" * 1000, "top/a/2.txt": b"two" * 70_000, "top/b/3.txt": b"", "top/c.bin": bytes(9)}


def tar(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    mode = "w:gz" if path.suffix == ".tgz" else "w"
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in more:
            archive.addfile(info)
    return path


def zipped(path: Path, files: dict[str, bytes], link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    return path


def below_top(name: PurePosixPath) -> str | None:
    return "/".join(name.parts[1:]) if name.suffix == ".txt" else None


@pytest.fixture(params=["x.tar", "x.tgz", "x.zip"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    path = tmp_path / request.param
    return lambda files: (zipped if path.suffix == ".zip" else tar)(path, files)


def test_wanted_files_are_written(make: Callable, tmp_path: Path) -> None:
    assert unpack(make(FILES), tmp_path / "out", below_top) == 3
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")
    }
    assert found == {name.removeprefix("top/"): content for name, content in FILES.items() if name.endswith(".txt")}


def test_what_another_archive_left_behind_is_removed(make: Callable, tmp_path: Path) -> None:
    """A refused archive may have left files, some of the right name and size."""
    unpack(make({"top/a/1.txt": b"bad", "top/a/old.txt": b"x"}), tmp_path / "out", below_top)
    os.utime(make({"top/a/1.txt": b"one"}), ns=(1, 1))
    archive = next(path for path in tmp_path.iterdir() if path.name.startswith("x."))
    assert unpack(archive, tmp_path / "out", below_top) == 1
    assert [path.name for path in (tmp_path / "out/a").iterdir()] == ["1.txt"]
    assert (tmp_path / "out/a/1.txt").read_bytes() == b"one"


def test_interrupted_call_is_taken_up(make: Callable, tmp_path: Path) -> None:
    archive = make(FILES)
    unpack(archive, tmp_path / "out", below_top)
    before = (tmp_path / "out/a/1.txt").stat().st_mtime_ns
    (tmp_path / "out/a/2.txt").write_bytes(b"two")  # cut off
    assert unpack(archive, tmp_path / "out", below_top) == 3
    assert (tmp_path / "out/a/2.txt").read_bytes() == FILES["top/a/2.txt"]
    assert (tmp_path / "out/a/1.txt").stat().st_mtime_ns == before


OUT = "which leads out of its folder"


def test_backslashes_of_windows_are_folders(make: Callable, tmp_path: Path) -> None:
    """As .NET's ZipFile.CreateFromDirectory packed them before 4.6.1; Python's zipfile keeps them elsewhere."""
    files = {name.replace("/", "\\"): content for name, content in FILES.items()} | {"top\\empty\\": b""}
    assert unpack(make(files), tmp_path / "out", below_top) == 3
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert found == {"a/1.txt", "a/2.txt", "b/3.txt"}
    assert (tmp_path / "out/a/2.txt").read_bytes() == FILES["top/a/2.txt"]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz"])
@pytest.mark.parametrize(
    ("page", "start"),
    [
        (b"<!DOCTYPE html>\n<html><head>", "<!DOCTYPE html>"),
        (b"\xef\xbb\xbf\r\n<html lang=en>\n<title>Sign in</title>", "<html lang=en>"),
    ],
)
def test_a_web_page_is_called_that(tmp_path: Path, name: str, page: bytes, start: str) -> None:
    (tmp_path / name).write_bytes(page)
    with pytest.raises(
        DataError, match=rf"x\.\w+ is a web page, not an archive: it begins with '{start}.*fetch the archive"
    ):
        unpack(tmp_path / name, tmp_path / "out", below_top)
    for md5 in (None, "0" * 32):
        with pytest.raises(DataError, match="is a web page, not an archive"):
            Job(tmp_path, source=tmp_path).obtain(Archive(name, md5))
    assert f", a web page that begins with '{start}" in Digest("md5", "0" * 32).problem(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil.txt", OUT), ("top/../../evil.txt", OUT), ("/evil.txt", OUT),
        ("top\\..\\..\\evil.txt", OUT), ("..\\evil.txt", OUT), ("C:\\evil.txt", OUT), ("C:evil.txt", OUT),
        ("\\\\server\\evil.txt", OUT), ("\\evil.txt", OUT),
    ],
)  # fmt: skip
def test_names_that_lead_out_are_refused(make: Callable, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        unpack(make({name: b"x"}), tmp_path / "deep/out", below_top)
    assert list(tmp_path.rglob("*evil*")) == []


def test_unwanted_links_and_folders_do_no_harm(tmp_path: Path) -> None:
    link, folder = tarfile.TarInfo("top/etc"), tarfile.TarInfo("top/a")
    link.type, link.linkname, folder.type = tarfile.SYMTYPE, "/etc", tarfile.DIRTYPE
    assert unpack(tar(tmp_path / "x.tar", FILES, link, folder), tmp_path / "out", below_top) == 3
    assert not (tmp_path / "out/etc").exists()


@pytest.mark.parametrize(
    ("kind", "target", "word"),
    [
        (tarfile.SYMTYPE, "/etc/passwd", "a link to an absolute path"), (tarfile.SYMTYPE, "1.txt", "a link"),
        (tarfile.LNKTYPE, "/etc/passwd", "a link to an absolute path"), (tarfile.LNKTYPE, "top/a/1.txt", "a link"),
        (tarfile.CHRTYPE, "", "a special file"), (tarfile.FIFOTYPE, "", "a special file"),
    ],
)  # fmt: skip
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes, target: str, word: str) -> None:
    info = tarfile.TarInfo("top/a/evil.txt")
    info.type, info.linkname = kind, target
    with pytest.raises(DataError, match=f"holds top/a/evil.txt, {word}; expected plain files only"):
        unpack(tar(tmp_path / "x.tar", FILES, info), tmp_path / "out", below_top)
    assert not os.path.lexists(tmp_path / "out/a/evil.txt")


@pytest.mark.parametrize("negative", ["its header", "an extended header", "a long name's header"])
def test_sizes_below_zero_in_a_tar_are_refused(tmp_path: Path, negative: str) -> None:
    """By these tarfile reads an entry again and again, or all of the archive into memory."""
    archive, size = tar(tmp_path / "x.tar", {"top/a.txt": b"1" * 512}), b"\xff" + (256**11 - 1024).to_bytes(11, "big")
    entry = bytearray(tarfile.TarInfo("top/b.txt").tobuf(tarfile.USTAR_FORMAT))
    if negative == "an extended header":
        record = b"15 size=-01024\n"
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.XHDTYPE, len(record)
        entry[:0] = header.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    else:
        entry[124:136] = size
        entry[156:157] = b"L" if "long" in negative else b"0"
        entry[148:156] = b" " * 8
        entry[148:156] = b"%06o\0 " % sum(entry)
    archive.write_bytes(archive.read_bytes()[:1024] + entry + bytes(1024))
    with pytest.raises(DataError, match="truncated or damaged"):
        unpack(archive, tmp_path / "out", lambda name: None)


@pytest.mark.parametrize("names", [("top/a/b", "top/a/b/c"), ("top/a/b/c", "top/a/b")])
def test_a_name_of_a_file_and_of_a_folder_is_said(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(DataError, match="a file in place of a folder, or a folder in place of a file"):
        unpack(tar(tmp_path / "x.tar", dict.fromkeys(names, b"1")), tmp_path / "out", str)


def test_files_that_are_not_plain_or_twice_are_refused(tmp_path: Path) -> None:
    locked = zipped(tmp_path / "locked.zip", {"top/a.txt": b"secret"})
    content = bytearray(locked.read_bytes())
    for start, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(start) + flags] |= 1
    locked.write_bytes(content)
    for archive, message in (
        (locked, r"holds top/a\.txt, an encrypted file; expected plain files only"),
        (zipped(tmp_path / "x.zip", FILES, "top/a/evil.txt"), r"holds top/a/evil\.txt, a link; expected plain files"),
        (tar(tmp_path / "x.tar", {"top/a.txt": b"1", "other/a.txt": b"2"}), r"a\.txt twice, as top/a\.txt and other/a"),
    ):
        with pytest.raises(DataError, match=message):
            unpack(archive, tmp_path / "out", below_top)


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95, 0.0])
def test_truncated_archive_is_named(make: Callable, tmp_path: Path, kept: float) -> None:
    archive = make(FILES)
    content = archive.read_bytes()
    end = len(content) if archive.suffix != ".tar" else len(content.rstrip(b"\0"))  # a tar is filled up with zeros
    archive.write_bytes(content[: int(kept * end)])
    with pytest.raises(DataError, match=r"archive .*x\.(tar|tgz|zip) is truncated or damaged .*fetch it again"):
        unpack(archive, tmp_path / "out", below_top)


def test_an_end_between_two_files_and_changed_bytes_are_found(tmp_path: Path) -> None:
    cut = tar(tmp_path / "x.tar", FILES)
    with tarfile.open(cut) as reader:
        boundary = reader.getmembers()[2].offset
    cut.write_bytes(cut.read_bytes()[:boundary])
    changed = zipped(tmp_path / "x.zip", {"top/a.txt": bytes(range(256)) * 9})
    content = bytearray(changed.read_bytes())
    content[45] ^= 255
    changed.write_bytes(content)
    for archive, message in ((cut, "truncated or damaged .its end is missing"), (changed, "truncated or damaged")):
        with pytest.raises(DataError, match=message):
            unpack(archive, tmp_path / "out", below_top)


def test_without_a_checksum_a_download_that_is_cut_off_is_put_aside(make: Callable, tmp_path: Path) -> None:
    archive = make({name: content for name, content in FILES.items() if content})
    whole, folder = archive.read_bytes(), tmp_path / "root/archives"
    cut = whole[:-15_000] if archive.suffix == ".tar" else whole[:-20]  # a tar ends in zeros
    with serve() as web:
        job = Job(tmp_path / "root", url_base=web.url, retry=RetryPolicy(retries=0))
        for content in (cut, b"<html>please log in</html>"):
            web.files[f"/{archive.name}"] = content
            with pytest.raises(DataError, match=rf"gave other bytes: .*they are kept as .*{archive.name}\.bad and not"):
                job.obtain(Archive(archive.name, None))
            assert [file.read_bytes() for file in folder.iterdir()] == [content]
        web.files[f"/{archive.name}"] = whole
        assert job.obtain(Archive(archive.name, None)).read_bytes() == whole


def test_no_space_is_said_before_unpacking(make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make(FILES)
    if archive.suffix == ".tgz":
        pytest.skip("the size of a compressed tar is not known beforehand")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 1000}))
    with pytest.raises(DataError, match="of space left"):
        unpack(archive, tmp_path / "out", below_top)
    assert list((tmp_path / "out").iterdir()) == []
    if archive.suffix == ".zip":  # its entries' sizes are known, and those that are left out take no space
        assert unpack(archive, tmp_path / "few", lambda name: name.name if name.suffix == ".bin" else None) == 1
