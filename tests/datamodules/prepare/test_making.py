"""Files of a folder are made on its own disk, by one process at a time; what a killed one left is used or removed."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsbench.base.errors import SettingsError
from fsbench.datamodules.prepare.making import making_place
from tests.datamodules.datasets.test_object_annotations import lvis
from tests.datamodules.prepare.archives import packed, prepare

Roots = tuple[Path, list[str]]


@pytest.fixture
def ours(tmp_path: Path) -> Roots:
    """A root with the annotations of LVIS, and the arguments that take its three photos from their archive."""
    data = lvis(tmp_path / "theirs")
    shutil.copyfile(next((data.root / "coco/val2017").iterdir()), data.root / "coco/val2017/unnamed.jpg")
    (data.root / "coco/train2017").mkdir()
    shutil.copyfile(data.root / "coco/val2017/unnamed.jpg", data.root / "coco/train2017/unnamed.jpg")
    for folder in ("val2017", "train2017"):
        packed(data.root / "coco", tmp_path / f"archives/{folder}.zip")
    root = tmp_path / "ours"
    root.mkdir()
    shutil.copyfile(data.root / "lvis_val.pkl", root / "lvis_val.pkl")
    return root, ["lvis", "--root", str(root), "--from", str(tmp_path / "archives"), "--allow-unverified"]


def photos(root: Path) -> list[str]:
    folders = [root / "coco/train2017", root / "coco/val2017"]
    return [f"{folder.name}/{path.name}" for folder in folders for path in sorted(folder.glob("*.jpg"))]


@pytest.mark.parametrize("link", ["coco", "coco/val2017"])
@pytest.mark.parametrize("leads_nowhere", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_link_to_another_disk_gets_its_photos_there(
    link: str, leads_nowhere: bool, at_once: bool, disk: Path, ours: Roots
) -> None:
    """To an empty folder, or to none yet: all photos at once, or first those that a validation needs."""
    root, arguments = ours
    if not leads_nowhere:
        (disk / "deep" / link).mkdir(parents=True)
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(disk / "deep" / link)
    if not at_once:
        assert prepare(*arguments, "--validation-only") == 0
        assert len(photos(root)) == 3 and not any("unnamed" in name for name in photos(root))
    assert prepare(*arguments) == 0
    named = [name for name in photos(root) if "unnamed" not in name]
    assert len(named) == 3 and photos(root) == ["train2017/unnamed.jpg", *named, "val2017/unnamed.jpg"]
    assert (root / link).is_symlink() and not any("making" in path.name for path in disk.rglob("*"))


def test_what_a_killed_process_left_is_used_and_removed(ours: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    root, arguments = ours
    moved = []

    def killed(source: str | os.PathLike, target: str | os.PathLike, rename=os.replace) -> None:
        if str(source).endswith(".jpg"):
            moved.append(source)
        if len(moved) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        assert prepare(*arguments, "--validation-only") == 130
    left = root / "coco/.val2017.making"
    assert len(photos(root)) == 1 and len([*left.iterdir()]) == 2
    (left / "of-another-list.jpg").touch()
    assert prepare(*arguments, "--validation-only") == 0
    assert len(photos(root)) == 3 and not any("unnamed" in name or "another" in name for name in photos(root))
    left.mkdir()  # by a process that was killed after the last photo
    assert prepare(*arguments, "--validation-only") == 0
    assert {path.name for path in (root / "coco").iterdir()} == {".val2017-is-a-selection", "val2017"}


def test_a_disk_that_refuses_is_one_line(ours: Roots, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    root, arguments = ours

    def refused(source: object, target: object, rename=os.replace) -> None:
        if ".making" in str(source):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))
        rename(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", refused)
    assert prepare(*arguments, "--validation-only") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert f"cannot make files of {root}/coco/val2017 ([Errno 18] Invalid cross-device link" in line


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Another process holds a lock."""
    program = """
import pathlib, sys
from fsbench.base.files import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        yield
        other.communicate()


def test_a_second_call_has_to_wait(ready: Path, capsys: pytest.CaptureFixture) -> None:
    with held(ready / ".prepare.lock"):
        assert prepare("pascal", "--root", ready, "--no-lists") == 2
    assert "another `fsbench data prepare` works in" in capsys.readouterr().err


def test_two_roots_that_share_a_folder_take_turns(ours: Roots, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root, arguments = ours
    shared = tmp_path / "shared"
    shared.mkdir()
    (root / "coco").symlink_to(shared)
    with held(shared / ".val2017.lock"):
        assert prepare(*arguments, "--validation-only") == 2
    assert f"another `fsbench data prepare` makes files of {shared}/val2017" in capsys.readouterr().err
    assert prepare(*arguments, "--validation-only") == 0


def test_a_leftover_of_a_complete_folder_waits_for_nobody(ours: Roots) -> None:
    """One whose folder was renamed just before the kill is a note alone; it stays while another process works there."""
    root, arguments = ours
    assert prepare(*arguments) == 0
    note = root / "coco/.val2017.making.from"
    note.touch()
    with held(root / "coco/.val2017.lock"):
        assert prepare(*arguments) == 0 and note.exists()
    assert prepare(*arguments) == 0 and not note.exists()


def test_an_output_that_nobody_reads_is_no_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), making_place(tmp_path / "a"):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_a_disk_without_locks_names_the_option_of_this_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(SettingsError, match=r"No locks available.*; give another folder with --root$"):
        making_place(tmp_path / "a").__enter__()


def test_root_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "x").touch()
    assert prepare("pascal", "--root", tmp_path / "x", "--no-lists") == 2
    assert "cannot write to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--timeout", "-5", "--timeout is -5, expected a number from 0.001"),
        ("--retries", "-1", "--retries is -1, expected a whole number from 0"),
        ("--url-base", "http://[bad", "expected an address that begins with http:// or https://"),
        ("--url-base", "ftp://here", "expected an address that begins with http:// or https://"),
    ],
)
def test_settings_of_downloads_are_checked(  # type: ignore[no-untyped-def]
    tmp_path: Path, capsys, option: str, value: str, message: str
) -> None:
    assert prepare("coco", "--root", tmp_path / "coco", "--no-lists", option, value) == 2
    assert message in capsys.readouterr().err
