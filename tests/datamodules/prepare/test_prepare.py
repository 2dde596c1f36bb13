"""`fsbench data prepare` through the real command line, on small archives in the publishers' layout."""

import csv
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from datamodules.datasets.coco import Coco
from datamodules.datasets.fss1000 import Fss1000
from datamodules.datasets.pascal import Pascal
from datamodules.prepare import list_files as list_module
from datamodules.prepare.coco import RENDERED
from datamodules.prepare.list_files import list_files
from datamodules.prepare.sbd import convert, read_segmentation
from fsbench.cli.main import main
from fsbench.data.image_io import read_label_map, voc_colors
from fsbench.episodes.lists import pair_list
from fsbench.errors import DataError
from tests.datamodules.builders import blocks, save_coco, save_labels, save_names, save_photo
from tests.datamodules.datasets.test_fss1000 import save_class
from tests.web import Web, serve

VOC_MAPS = {
    "2007_000001": blocks(120, 130, (2, 0, 0, 110, 110), (255, 110, 0, 3, 90)),
    "2008_000002": blocks(120, 110, (1, 5, 5, 100, 100)),
}
SBD_MAPS = {"2008_000002": blocks(120, 110), "2010_000003": blocks(125, 140, (8, 3, 3, 120, 120))}


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as server:
        yield server


def save_mat(path: Path, labels: np.ndarray) -> None:
    """SBD's structure: GTcls with Boundaries, Segmentation and CategoriesPresent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    present = np.unique(labels[labels > 0])[:, None]
    content = {"Boundaries": np.zeros((20, 1), object), "Segmentation": labels, "CategoriesPresent": present}
    scipy.io.savemat(path, {"GTcls": content}, do_compression=True)


def packed(folder: Path, archive: Path) -> Path:
    """All of `folder` as a tar, tgz or zip archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in sorted(folder.rglob("*")):
                zipped.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name)
    return archive


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


def prepare(*arguments: str | Path) -> int:
    quick = ["--backoff", "0", "--retries", "2", "--timeout", "5"]
    return main(["data", "prepare", *quick, *map(str, arguments)])


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name not in (".prepare.lock",)}


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
    assert pair_list(index, "pfenet-trn", 0).pairs == (("2010_000003", 8),)
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
        patch.setattr("datamodules.prepare.pascal.convert", stop)
        assert prepare(*arguments) == 130
    assert not (root / "VOC2012/SegmentationClassAug").exists()
    assert prepare(*arguments) == 0
    check_voc(root)


def test_interrupted_download_goes_on(voc_archives: Path, tmp_path: Path, web: Web) -> None:
    """A real process, stopped with Ctrl-C while the server keeps it waiting."""
    web.files = {f"/{path.name}": path.read_bytes() for path in voc_archives.iterdir()}
    web.break_after, web.delays = [3000], [0, 60]
    root = tmp_path / "pascal"
    arguments = ["data", "prepare", "pascal", "--root", str(root), "--no-lists", "--url-base", web.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "fsbench", *arguments, "--allow-unverified", "--backoff", "0"], stderr=subprocess.PIPE
    )
    part = root / "archives/VOCtrainval_11-May-2012.tar.part"
    while process.poll() is None and len(web.requests) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
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


def test_annotations_of_sbd_come_back_exactly(tmp_path: Path) -> None:
    labels = np.random.RandomState(0).randint(0, 21, (37, 53)).astype(np.uint8)
    save_mat(tmp_path / "a.mat", labels)
    found = read_segmentation(tmp_path / "a.mat")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels)
    convert({"a": tmp_path / "a.mat"}, tmp_path)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)


@pytest.mark.parametrize(
    "labels",
    [np.full((4, 4), 21), np.full((4, 4), -1), np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 0.5), np.zeros((0, 0))],
    ids=["21", "negative", "3-d", "fraction", "empty"],
)
def test_other_content_is_refused(tmp_path: Path, labels: np.ndarray) -> None:
    save_mat(tmp_path / "a.mat", labels)
    with pytest.raises(DataError, match=r"annotation .*a\.mat holds"):
        read_segmentation(tmp_path / "a.mat")


@pytest.mark.parametrize("content", [b"", b"no mat", b"MATLAB 5.0" + bytes(500)])
def test_damaged_annotation_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"annotation .*a\.mat cannot be read"):
        read_segmentation(tmp_path / "a.mat")


def test_wrong_struct_is_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"GTinst": {"Segmentation": np.zeros((3, 3))}})
    with pytest.raises(DataError, match=r"annotation .*a\.mat cannot be read"):
        read_segmentation(tmp_path / "a.mat")


@pytest.fixture
def coco_archives(tmp_path: Path) -> Path:
    square = {"class": 5, "segmentation": [[0, 0, 69, 0, 69, 69, 0, 69]]}
    for split in ("train2014", "val2014"):
        source = tmp_path / f"src_{split}"
        save_coco(source, split, {f"COCO_{split}_1.jpg": (90, 100, [square]), f"COCO_{split}_2.jpg": (90, 80, [])})
        (tmp_path / "notes/annotations").mkdir(parents=True, exist_ok=True)
        (source / f"annotations/instances_{split}.json").rename(tmp_path / f"notes/annotations/instances_{split}.json")
        (source / "annotations").rmdir()
        packed(source, tmp_path / f"archives/{split}.zip")
    (tmp_path / "notes/annotations/captions_val2014.json").write_text("{}")
    packed(tmp_path / "notes", tmp_path / "archives/annotations_trainval2014.zip")
    return tmp_path / "archives"


def test_coco_with_rendered_label_maps(coco_archives: Path, tmp_path: Path) -> None:
    root = tmp_path / "coco"
    arguments = ("coco", "--root", root, "--from", coco_archives, "--no-lists", "--allow-unverified")
    assert prepare(*arguments) == 0
    assert sorted(path.name for path in (root / "annotations").iterdir()) == [
        "instances_train2014.json", "instances_val2014.json",
    ]  # fmt: skip
    index = Coco(str(root))
    assert pair_list(index, "val", 0).pairs == (("val2014/COCO_val2014_1.jpg", 5),)
    assert prepare(*arguments, "--render") == 0
    for name in ("val2014/COCO_val2014_1", "train2014/COCO_train2014_2"):
        labels = read_label_map(root / f"annotations/{name}.png")
        np.testing.assert_array_equal(labels, index.label_map(f"{name}.jpg"))
    before = times(root)
    assert prepare(*arguments, "--render") == 0
    assert times(root) == before
    # other annotations: rendered again
    (root / f"annotations/val2014/{RENDERED}").write_text("0\n")
    (root / "annotations/val2014/COCO_val2014_2.png").write_bytes(b"old")
    assert prepare(*arguments, "--render") == 0
    assert read_label_map(root / "annotations/val2014/COCO_val2014_2.png").max() == 0


def test_coco_for_evaluation_alone(coco_archives: Path, tmp_path: Path) -> None:
    (coco_archives / "train2014.zip").unlink()
    root = tmp_path / "coco"
    arguments = ("coco", "--root", root, "--from", coco_archives, "--no-lists", "--allow-unverified")
    assert prepare(*arguments, "--validation-only") == 0
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["annotations", "val2014"]


def test_fss1000_needs_its_archive_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "fss1000"
    assert prepare("fss1000", "--root", root, "--no-lists") == 2
    error = capsys.readouterr().err
    assert "no archive of FSS-1000 in" in error and "Google Drive" in error and "fewshot_data.zip" in error
    for name in ("cup", "axe"):
        save_class(tmp_path / "src/fewshot_data", name)
    (tmp_path / "src/__MACOSX/cup").mkdir(parents=True)
    (tmp_path / "src/__MACOSX/cup/1.jpg").write_bytes(b"x")
    packed(tmp_path / "src", tmp_path / "archives/fewshot_data.zip")
    arguments = ("fss1000", "--root", root, "--from", tmp_path / "archives", "--no-lists")
    assert prepare(*arguments) == 2
    assert "has 2 class folders; expected 1000 with 1 to 10" in capsys.readouterr().err
    assert prepare(*arguments, "--allow-unverified") == 0
    assert "its sha256 is in prepared.json" in capsys.readouterr().out
    assert json.loads((root / "prepared.json").read_text())["fewshot_data.zip"]["checksum"].startswith("sha256 ")
    assert Fss1000(str(root), test_only=True).class_names == ("axe", "cup")
    before = times(root)
    assert prepare(*arguments) == 0
    assert times(root) == before


@pytest.fixture
def few_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three list files in place of the released ones."""
    source = tmp_path / "released"
    rows = []
    for file, address in (
        ("hsnet/pascal/val/fold0.txt", "a/b/data/splits/pascal/val/fold0.txt"),
        ("emat-size/pascal/0-5/fold0.txt", "c/d/data/splits/pascal/custom/0-5/fold0.txt"),
        ("hmnet/pascal/val.txt", ""),
    ):
        path = source / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{file}\n")
        rows.append({"file": file, "source": address, "sha256": sha256(path.read_bytes()).hexdigest()})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["file", "source", "sha256"])
    writer.writeheader()
    writer.writerows(rows)
    (tmp_path / "list_files.csv").write_text(text.getvalue())
    monkeypatch.setattr(list_module, "__file__", str(tmp_path / "list_files.py"))
    list_files.cache_clear()
    return source


@pytest.fixture(autouse=True)
def _forget_lists() -> Iterator[None]:
    yield
    list_files.cache_clear()


def lists_in(root: Path) -> list[str]:
    return sorted(path.relative_to(root / "lists").as_posix() for path in (root / "lists").rglob("*") if path.is_file())


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A root in which only the lists are wanting."""
    for part in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (tmp_path / "ready/VOC2012" / part).mkdir(parents=True)
    return tmp_path / "ready"


def test_lists_are_fetched_and_verified(ready: Path, few_lists: Path, web: Web, capsys) -> None:  # type: ignore[no-untyped-def]
    arguments = ("pascal", "--root", ready, "--url-base", web.url)
    hsnet, size = "hsnet/pascal/val/fold0.txt", "emat-size/pascal/0-5/fold0.txt"
    assert prepare(*arguments) == 2
    assert "/lists/hsnet/pascal/val/fold0.txt was refused: HTTP 404" in (error := capsys.readouterr().err)
    assert "--no-lists does without" in error
    web.files[f"/lists/{hsnet}"] = b"altered"
    assert prepare(*arguments) == 2
    assert "gave other bytes: sha256" in capsys.readouterr().err
    web.files[f"/lists/{hsnet}"] = (few_lists / hsnet).read_bytes()
    assert prepare(*arguments) == 0
    printed = capsys.readouterr().out
    assert "note: lists emat-size were not to be had" in printed
    assert "lists hmnet: no address is known; give a copy with --lists DIR" in printed
    web.files[f"/lists/{size}"] = (few_lists / size).read_bytes()
    assert prepare(*arguments) == 0
    assert {hsnet, size} <= set(lists_in(ready))
    asked = len(web.requests)
    assert prepare(*arguments) == 0
    assert len(web.requests) == asked


@pytest.mark.parametrize("layout", ["all", "checkout"])
def test_lists_are_copied(ready: Path, few_lists: Path, layout: str, capsys) -> None:  # type: ignore[no-untyped-def]
    if layout == "checkout":  # data/splits of a repository
        (few_lists / "pascal/custom").mkdir(parents=True)
        (few_lists / "hsnet/pascal/val").rename(few_lists / "pascal/val")
        (few_lists / "emat-size/pascal/0-5").rename(few_lists / "pascal/custom/0-5")
        (few_lists / "hmnet/pascal/val.txt").unlink()
    assert prepare("pascal", "--root", ready, "--lists", few_lists) == 0
    expected = ["emat-size/pascal/0-5/fold0.txt", "hmnet/pascal/val.txt", "hsnet/pascal/val/fold0.txt"]
    assert lists_in(ready) == [name for name in expected if layout == "all" or "hmnet" not in name]
    assert ("1 lists are not in" in capsys.readouterr().out) == (layout == "checkout")
    copy = ready / "lists/hsnet/pascal/val/fold0.txt"
    copy.write_text("altered")
    assert prepare("pascal", "--root", ready, "--lists", few_lists) == 0
    assert copy.read_text() == "hsnet/pascal/val/fold0.txt\n"
    copy.unlink()
    (few_lists / ("pascal/val" if layout == "checkout" else "hsnet/pascal/val") / "fold0.txt").write_text("altered")
    assert prepare("pascal", "--root", ready, "--lists", few_lists) == 2
    assert "fold0.txt was altered: found sha256" in capsys.readouterr().err
    assert not copy.exists()


def test_folder_without_lists_is_refused(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert prepare("pascal", "--root", ready, "--lists", tmp_path) == 2
    assert "has none of the 45 lists, such as" in capsys.readouterr().err
    for option in ("--lists", "--from"):
        assert prepare("pascal", "--root", ready, option, tmp_path / "none") == 2
        assert f"{option} is {tmp_path / 'none'}, which is no folder" in capsys.readouterr().err


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


def test_released_lists_are_taken_as_they_are(real_data: Path, ready: Path) -> None:
    lists = real_data / "official-lists"
    assert prepare("pascal", "--root", ready, "--lists", lists) == 0
    assert len(lists_in(ready)) == 45
    assert Pascal(str(ready)).lists == [str(ready / "lists")]


HOLD_LOCK = """
import pathlib, sys
from fsbench.files import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_call_has_to_wait(ready: Path, capsys: pytest.CaptureFixture) -> None:
    command = [sys.executable, "-c", HOLD_LOCK, ready / ".prepare.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        assert prepare("pascal", "--root", ready, "--no-lists") == 2
        holder.communicate()
    assert "another `fsbench data prepare` works in" in capsys.readouterr().err


def test_root_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "x").touch()
    assert prepare("pascal", "--root", tmp_path / "x", "--no-lists") == 2
    assert "cannot write to" in capsys.readouterr().err
