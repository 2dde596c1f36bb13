"""`fsbench data prepare pascal`: from archives at hand, from mirrors that fail, and taken up where it stopped."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.data.image_io import read_label_map
from fsbench.data.palettes import voc_colors
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.protocols.image_lists import image_list
from fsbench.protocols.lists import pair_list
from tests.datamodules.builders import blocks, save_labels, save_names, save_photo
from tests.datamodules.prepare.archives import packed, prepare, save_mat, times
from tests.web import Web

VOC_MAPS = {
    "2007_000001": blocks(120, 130, (2, 0, 0, 110, 110), (255, 110, 0, 3, 90)),
    "2008_000002": blocks(120, 110, (1, 5, 5, 100, 100)),
}
SBD_MAPS = {"2008_000002": blocks(120, 110), "2010_000003": blocks(125, 140, (8, 3, 3, 120, 120))}


@pytest.fixture
def voc_archives(tmp_path: Path) -> Path:
    """VOCtrainval and benchmark.tgz with three images."""
    voc, sbd = tmp_path / "src/VOCdevkit/VOC2012", tmp_path / "sbd/benchmark_RELEASE/dataset"
    for name, labels in (VOC_MAPS | SBD_MAPS).items():
        save_photo(voc / f"JPEGImages/{name}.jpg", *labels.shape)
    for name, labels in VOC_MAPS.items():
        save_labels(voc / f"SegmentationClass/{name}.png", labels)
        save_labels(voc / f"SegmentationObject/{name}.png", labels)
    save_names(voc, val=["2007_000001"], train=["2008_000002"])
    for name, labels in SBD_MAPS.items():
        save_mat(sbd / f"cls/{name}.mat", labels)
        save_photo(sbd / f"img/{name}.jpg", 5, 5)
    (sbd / "train.txt").write_text("2010_000003\n2007_000001\n")
    (sbd / "val.txt").write_text("2008_000002\n")
    packed(tmp_path / "src", tmp_path / "archives/VOCtrainval_11-May-2012.tar")
    packed(tmp_path / "sbd", tmp_path / "archives/benchmark.tgz")
    return tmp_path / "archives"


def check_voc(root: Path) -> None:
    aug = root / "VOC2012/SegmentationClassAug"
    assert {path.stem for path in aug.iterdir()} == {"2007_000001", "2008_000002", "2010_000003"}
    for name, labels in VOC_MAPS.items():  # VOC's own map also where SBD has one, byte for byte
        np.testing.assert_array_equal(read_label_map(aug / f"{name}.png"), labels)
        assert (aug / f"{name}.png").read_bytes() == (root / f"VOC2012/SegmentationClass/{name}.png").read_bytes()
    with Image.open(aug / "2010_000003.png") as image:
        assert image.mode == "P"
        assert image.getpalette() == voc_colors().ravel().tolist()
        np.testing.assert_array_equal(np.asarray(image), SBD_MAPS["2010_000003"])
    index = Pascal(str(root))
    assert pair_list(index, "val", 0).pairs == (("2007_000001", 2),)
    assert image_list(index, "trn", 0).pairs == (("2010_000003", 8),)
    assert not (root / "VOC2012/SegmentationObject").exists()
    assert list(root.rglob("*.making")) == []


def test_pascal_from_archives_at_hand(voc_archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "data/pascal"
    arguments = ("pascal", "--root", root, "--from", voc_archives, "--no-lists")
    assert prepare(*arguments) == 2
    assert "VOCtrainval_11-May-2012.tar" in (error := capsys.readouterr().err)
    assert "expected 6cd6e144f989b92b3379bac3b3de84fd; it is truncated or altered" in error
    assert prepare(*arguments, "--allow-unverified") == 0
    check_voc(root)
    note = json.loads((root / "prepared.json").read_text())
    assert [note[name]["verified"] for name in sorted(note)] == [False, False]
    assert all(entry["checksum"].startswith("md5 ") for entry in note.values())
    before = times(root)
    for archive in voc_archives.iterdir():
        archive.unlink()
    assert prepare(*arguments) == 0  # complete: needs no archive
    assert times(root) == before


@pytest.mark.parametrize("part", ["JPEGImages", "SegmentationClassAug"])  # of an archive, and made of two
def test_a_part_that_is_a_link_to_an_empty_folder_of_another_disk(
    part: str, voc_archives: Path, tmp_path: Path, disk: Path
) -> None:
    root = tmp_path / "pascal"
    (disk / "part").mkdir()
    (root / "VOC2012" / part).parent.mkdir(parents=True)
    (root / "VOC2012" / part).symlink_to(disk / "part")
    assert prepare("pascal", "--root", root, "--from", voc_archives, "--no-lists", "--allow-unverified") == 0
    check_voc(root)
    assert (root / "VOC2012" / part).is_symlink() and [path.name for path in disk.iterdir()] == ["part"]


def test_a_complete_folder_may_be_for_reading_only(
    voc_archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("pascal", "--from", voc_archives, "--no-lists", "--allow-unverified", "--root")
    assert prepare(*arguments, tmp_path / "disk") == 0
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/VOC2012").symlink_to(tmp_path / "disk/VOC2012")

    def unlink(path: str | os.PathLike, unlink=os.unlink, **more: object) -> None:
        if "VOC2012" in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", unlink)
    assert prepare(*arguments, tmp_path / "ours") == 0
    check_voc(tmp_path / "ours")


def test_pascal_from_a_mirror_that_breaks_off(voc_archives: Path, tmp_path: Path, web: Web) -> None:
    web.files = {f"/m/{path.name}": path.read_bytes() for path in voc_archives.iterdir()}
    web.break_after = [3000, 3000]
    root = tmp_path / "pascal"
    assert prepare("pascal", "--root", root, "--no-lists", "--url-base", f"{web.url}/m/", "--allow-unverified") == 0
    check_voc(root)
    assert [asked for _, asked in web.requests][:3] == [None, "bytes=3000-", "bytes=6000-"]


def test_pascal_from_a_mirror_of_other_bytes(voc_archives: Path, tmp_path: Path, web: Web, capsys) -> None:  # type: ignore[no-untyped-def]
    web.files = {f"/{path.name}": path.read_bytes() for path in voc_archives.iterdir()}
    assert prepare("pascal", "--root", tmp_path / "p", "--no-lists", "--url-base", web.url) == 2
    assert "gave other bytes: md5" in capsys.readouterr().err
    assert not (tmp_path / "p/VOC2012").exists()


def test_stopped_conversion_is_taken_up(voc_archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "pascal"
    arguments = ("pascal", "--root", root, "--from", voc_archives, "--no-lists", "--allow-unverified")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fsbench.datamodules.datasets.pascal.convert_sbd", stop)
        assert prepare(*arguments) == 130
    assert not (root / "VOC2012/SegmentationClassAug").exists()
    assert prepare(*arguments) == 0
    check_voc(root)


def test_interrupted_download_goes_on(voc_archives: Path, tmp_path: Path, web: Web) -> None:
    """A real process, stopped with Ctrl-C while the server keeps it waiting."""
    web.files = {f"/{path.name}": path.read_bytes() for path in voc_archives.iterdir()}
    web.break_after, web.delays = [3000], [0, 600]
    root = tmp_path / "pascal"
    arguments = ["data", "prepare", "pascal", "--root", str(root), "--no-lists", "--url-base", web.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "fsbench", *arguments, "--allow-unverified", "--backoff", "0", "--timeout", "600"],
        stderr=subprocess.PIPE,
    )  # fmt: skip
    part = root / "archives/VOCtrainval_11-May-2012.tar.part"
    end = time.monotonic() + 240
    while len(web.requests) < 2:
        assert process.poll() is None and time.monotonic() < end, web.requests
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 130
    assert b"stopped; the same command goes on from here" in error
    assert part.stat().st_size == 3000
    assert prepare(*arguments[2:], "--allow-unverified") == 0
    assert web.requests[2] == ("/VOCtrainval_11-May-2012.tar", "bytes=3000-")
    check_voc(root)


def test_truncated_archive(voc_archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    archive = voc_archives / "benchmark.tgz"
    archive.write_bytes(archive.read_bytes()[:-200])
    root = tmp_path / "pascal"
    assert prepare("pascal", "--root", root, "--from", voc_archives, "--no-lists", "--allow-unverified") == 2
    assert "benchmark.tgz is truncated or damaged" in capsys.readouterr().err
    assert not (root / "VOC2012/SegmentationClassAug").exists()
