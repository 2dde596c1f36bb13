"""PASCAL-5i: the rule of its lists, label maps of VOC and SBD, and preparing; bad files in one clear line."""

import errno
import io
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import pairs_sha256
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.image_io import read_label_map
from fsbench.data.palettes import voc_colors
from fsbench.data.published import checksums
from fsbench.datamodules.datasets.pascal import CLASS_NAMES, Pascal, noise_table, set_samples
from fsbench.datamodules.kinds.mask_folder import read_names
from fsbench.datamodules.prepare.sbd import read_sbd
from fsbench.protocols.episode_rules.image_lists import image_list
from fsbench.protocols.episode_rules.pair_lists import pair_list
from tests.datamodules.builders import blocks, save_labels, save_names, save_pairs, save_photo
from tests.datamodules.prepare.archives import packed, prepare, save_mat, times
from tests.web import Web

BIG = (2, 0, 0, 110, 110)  # class 2 on 4 x 4 grid points at least
SMALL = (7, 100, 100, 40, 30)  # class 7, on 2 grid points at most
MAPS = {
    "2007_b": blocks(200, 200, BIG),
    "2007_a": blocks(160, 200, BIG, SMALL),
    "2008_c": blocks(160, 200, (8, 0, 0, 100, 150), (255, 100, 0, 5, 200)),
    "2008_v": blocks(200, 200, (2, 0, 0, 200, 200), (1, 0, 0, 100, 99)),
    "2008_u": blocks(200, 200, (1, 0, 0, 100, 100), (4, 90, 110, 50, 60)),
}
VAL = ["2008_v", "2008_u"]


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2012"
    save_pairs(root, MAPS)
    save_names(root, val=VAL)
    return root


def plain_samples(labels: np.ndarray, number: int, split: str) -> int:
    """Set grid samples of one class by the text of the rule, one sample after the other."""
    height, width = labels.shape
    rows, columns = math.ceil((height + 30) / 32), math.ceil((width + 30) / 32)
    noise = noise_table().get((split, rows, columns))
    unit, found = 2.0**-49, 0
    for r in range(rows):
        for k in range(columns):
            i = j = 0
            if noise:
                a, b, t, a2, b2, t2 = noise
                x = (32 + a * unit) * k + (b * unit) * r + (15.5 + t * unit)
                y = (b2 * unit) * k + (32 + a2 * unit) * r + (15.5 + t2 * unit)
                i, j = math.floor(y + 0.5) - 32 * r - 15, math.floor(x + 0.5) - 32 * k - 15
            assert i in (0, 1) and j in (0, 1)
            y0, x0 = 32 * r + i, 32 * k + j
            found += y0 < height and x0 < width and labels[y0, x0] == number
    return found


@pytest.mark.parametrize("split", ["trn", "val"])
def test_rule_agrees_with_a_plain_implementation(split: Literal["trn", "val"]) -> None:
    rng = np.random.RandomState(1)
    sizes = [(32 * rows - 30 - rng.randint(32), 32 * cols - 30 - rng.randint(32)) for _, rows, cols in noise_table()]
    for height, width in [*sizes, (333, 500), (64, 65), (1, 1), (66, 34)]:
        labels = rng.choice([0, 3, 20, 255], size=(height, width)).astype(np.uint8)
        samples = set_samples(labels, split)
        for number in (3, 20):
            assert samples[number] == plain_samples(labels, number, split), (split, height, width)


def test_the_table_has_the_entries_of_the_rule() -> None:
    splits = [split for split, _, _ in noise_table()]
    assert (splits.count("trn"), splits.count("val")) == (26, 7)
    assert noise_table()["trn", 9, 12] == (-4, 3.004, -24, 4, -2.5, 0)


def test_folds_and_names() -> None:
    assert len(CLASS_NAMES) == 20
    assert [CLASS_NAMES[number - 1] for number in (1, 11, 15, 20)] == [
        "aeroplane", "diningtable", "person", "tvmonitor",
    ]  # fmt: skip


def test_derived_lists_have_official_order_and_leave_small_objects_out(voc: Path) -> None:
    data = Pascal(str(voc))
    assert data.test_classes(1) == [6, 7, 8, 9, 10]
    assert data.train_classes(1)[:6] == [1, 2, 3, 4, 5, 11]
    validation = pair_list(data, "val", 0)
    assert validation.pairs == (("2008_u", 1), ("2008_u", 4), ("2008_v", 1), ("2008_v", 2))
    assert validation.origin == "derived"
    assert pair_list(data, "trn", 1).pairs == (("2007_a", 2), ("2007_b", 2))
    assert pair_list(data, "trn", 0).pairs == (("2008_c", 8),)  # class 7 is there with too few samples
    assert pair_list(data, "trn", 3).pairs == (("2007_a", 2), ("2007_b", 2), ("2008_c", 8))  # of folds 0, 1 and 2


def test_train_aug_names_the_training_images_where_it_exists(voc: Path) -> None:
    save_names(voc, train_aug=["/JPEGImages/2007_b.jpg /SegmentationClassAug/2007_b.png"])
    assert pair_list(Pascal(str(voc)), "trn", 1).pairs == (("2007_b", 2),)
    save_names(voc, train_aug=["2007_b", "2008_u"])
    with pytest.raises(DataError, match=r"train_aug\.txt has 2008_u, which is in val\.txt too"):
        pair_list(Pascal(str(voc)), "trn", 1)


@pytest.mark.parametrize("inner", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_root_may_be_a_folder_above(tmp_path: Path, inner: str) -> None:
    save_pairs(tmp_path / "data" / inner, {"2007_b": MAPS["2007_b"]})
    data = Pascal(str(tmp_path / "data"))
    assert data.image_path("2007_b") == tmp_path / "data" / inner / "JPEGImages" / "2007_b.jpg"
    np.testing.assert_array_equal(data.label_map("2007_b"), MAPS["2007_b"])


def test_list_with_foreign_classes_is_refused(voc: Path, tmp_path: Path) -> None:
    file = tmp_path / "lists/pascal/val/fold0.txt"
    file.parent.mkdir(parents=True)
    file.write_text("2008_u__01\n2008_v__07\n")
    with pytest.raises(DataError, match="val/fold0 has the class car; expected aeroplane, bicycle, bird, boat, bottle"):
        pair_list(Pascal(str(voc), [str(tmp_path / "lists")], allow_unverified_lists=True), "val", 0)


def test_unknown_split_and_fold(voc: Path) -> None:
    with pytest.raises(SettingsError, match="unknown split 'test'; there are: trn, val, held_out, 0-5"):
        pair_list(Pascal(str(voc)), "test", 0)
    with pytest.raises(SettingsError, match="unknown fold 4 for pascal"):
        pair_list(Pascal(str(voc)), "val", 4)


@pytest.fixture
def all_label_maps(real_data: Path) -> Iterator[Path]:
    """All 12031 label maps with empty files for photos: the lists come from the label maps alone."""
    with tempfile.TemporaryDirectory() as folder:  # removed at once; pytest keeps its own for three sessions
        root = Path(folder)
        with tarfile.open(real_data / "voc-segmentationclassaug.tar.gz") as archive:
            archive.extractall(root, filter="data")
        (root / "JPEGImages").mkdir()
        for path in (root / "SegmentationClassAug").iterdir():
            (root / "JPEGImages" / f"{path.stem}.jpg").touch()
        yield root


@pytest.mark.slow(25)
def test_all_label_maps_give_the_official_lists_and_size_splits(real_data: Path, all_label_maps: Path) -> None:
    hmnet = real_data / "official-lists/hmnet/pascal"
    train, sbd, val = (read_names(hmnet / f"{name}.txt") for name in ("voc_original_train", "sbd_data", "val"))
    save_names(all_label_maps, val=val, train=train, sbd_train=sbd)
    data = Pascal(str(all_label_maps))
    with_lists = Pascal(str(all_label_maps), [str(real_data / "official-lists")])
    for fold in range(4):
        own = [tuple(p for p in pair_list(data, "trn", (fold + 1) % 4).pairs if p[1] in data.test_classes(fold))]
        own += [pair_list(data, split, fold).pairs for split in ("val", *SIZE_BINS)]
        for split, pairs in zip(("trn", "val", *SIZE_BINS), own, strict=True):
            known = checksums("pascal")[split, fold]
            assert len(pairs) == known.pairs
            assert pairs_sha256(pairs, ordered=True) == known.sha256_ordered
            assert pair_list(data, split, fold).origin == "official"
        for part in ("trn", "val"):  # from SBD's and VOC's own lists and the label maps alone
            assert image_list(data, part, fold).origin == "official"
            assert image_list(with_lists, part, fold).origin == "official"


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
    data = Pascal(str(root))
    assert pair_list(data, "val", 0).pairs == (("2007_000001", 2),)
    assert image_list(data, "trn", 0).pairs == (("2010_000003", 8),)
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


def test_stopped_conversion_is_taken_up(voc_archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "pascal"
    arguments = ("pascal", "--root", root, "--from", voc_archives, "--no-lists", "--allow-unverified")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fsbench.datamodules.prepare.sbd.write_label_maps", stop)
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
    assert b"stopped; run the same command again to continue" in error
    assert part.stat().st_size == 3000
    assert prepare(*arguments[2:], "--allow-unverified") == 0
    assert web.requests[2] == ("/VOCtrainval_11-May-2012.tar", "bytes=3000-")
    check_voc(root)


scipy.io.savemat(TWICE := io.BytesIO(), {"GTcls": {"Segmentation": np.zeros((3, 3), np.uint8)}})
UNUSABLE = {
    "21": (np.full((4, 4), 21), "holds"),
    "negative": (np.full((4, 4), -1), "holds"),
    "three axes": (np.zeros((4, 4, 3), np.uint8), "holds"),
    "fraction": (np.full((4, 4), 0.5), "holds"),
    "empty": (np.zeros((0, 0)), "holds"),
    "no bytes": (b"", "cannot be read"),
    "no mat": (b"no mat", "cannot be read"),
    "no content": (b"MATLAB 5.0" + bytes(500), "cannot be read"),
    "a variable twice": (
        TWICE.getvalue() + TWICE.getvalue()[128:],
        r"cannot be read \(Duplicate variable [^\n]+$",
    ),
    "another structure": ({"GTinst": {"Segmentation": np.zeros((3, 3))}}, "cannot be read"),
}


@pytest.mark.parametrize(("content", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_annotation_of_sbd_is_named(tmp_path: Path, content: object, words: str) -> None:
    file = tmp_path / "a.mat"
    if isinstance(content, np.ndarray):
        save_mat(file, content)
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        scipy.io.savemat(file, content)
    with pytest.raises(DataError, match=rf"annotation .*a\.mat {words}"):
        read_sbd(file)
