"""FSS-1000: its splits, items and masks, and preparing from an archive by hand."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError, SettingsError
from fsbench.datamodules.datasets import fss1000 as fss_splits
from fsbench.datamodules.datasets.fss1000 import Fss1000, draw_splits, names_sha256, read_splits
from fsbench.protocols.episode_rules.image_lists import image_list
from fsbench.protocols.episode_rules.pair_lists import pair_list
from tests.datamodules.prepare.archives import packed, prepare, times

NAMES = {"trn": ["zebra", "axe"], "val": ["bus"], "test": ["cup", "Bell"]}


def save_class(root: Path, name: str, numbers: range = range(1, 11), filled: int = 3, exist_ok: bool = False) -> None:
    """Photos and masks of 20 x 10 pixels with `filled` rows of foreground."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=exist_ok)
    for number in numbers:
        mask = np.zeros((10, 20, 3), dtype=np.uint8)
        mask[:filled], mask[9, 0], mask[9, 1] = 255, 127, 128
        Image.fromarray(mask).save(folder / f"{number}.png")
        Image.new("RGB", (20, 10), (10 * number, 5, 5)).save(folder / f"{number}.jpg")


def save_lists(folder: Path, names: dict[str, list[str]] = NAMES) -> Path:
    (folder / "fss").mkdir(parents=True)
    for part, entries in names.items():
        (folder / "fss" / f"{part}.txt").write_text("".join(f"{name}\n" for name in entries))
    return folder


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(fss_splits, "CHECKSUMS", {part: names_sha256(names) for part, names in NAMES.items()})
    return str(save_lists(tmp_path / "lists"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for names in NAMES.values():
        for name in names:
            save_class(tmp_path / "data", name)
    return tmp_path / "data"


def test_class_numbers_are_ranks_inside_the_split(root: Path, lists: str) -> None:
    data = Fss1000(str(root), [lists])
    assert data.class_names == ("axe", "zebra", "bus", "Bell", "cup")  # byte order: capitals first
    assert (data.train_classes(0), data.val_classes(0), data.test_classes(0)) == ([1, 2], [3], [4, 5])


def test_a_mask_of_equal_size_and_time_is_counted_again(root: Path, lists: str, cache: Path) -> None:
    mask, content = root / "cup/1.png", np.zeros((10, 20), dtype=np.uint8)

    def pixels() -> tuple[dict[int, int], int]:
        data = Fss1000(str(root), [lists])
        data.count_pixels("val", ["cup/1", "cup/2"])
        return data.class_pixels("cup/1")

    mask.write_bytes(mask.read_bytes().ljust(2000, b"\0"))
    assert pixels() == ({0: 139, 5: 61}, 200)
    written = mask.stat()
    Image.fromarray(content).save(mask)
    mask.write_bytes(mask.read_bytes().ljust(2000, b"\0"))
    os.utime(mask, ns=(written.st_atime_ns, written.st_mtime_ns))
    assert pixels() == ({0: 200}, 200)


def test_items_are_in_official_order_and_supports_in_numeric_order(root: Path, lists: str) -> None:
    data = Fss1000(str(root), [lists])
    pairs = pair_list(data, "val", 0)
    assert pairs.origin == "official"
    assert [name for name, number in pairs.pairs if number == 5] == [
        f"cup/{i}" for i in (1, 10, 2, 3, 4, 5, 6, 7, 8, 9)
    ]
    assert [number for _, number in pairs.pairs] == [4] * 10 + [5] * 10
    assert data.support_images(pairs)[4] == tuple(f"Bell/{i}" for i in range(1, 11))
    assert {number for _, number in pair_list(data, "held_out", 0).pairs} == {3}
    assert {number for _, number in pair_list(data, "trn", 0).pairs} == {1, 2}
    with pytest.raises(SettingsError, match="no lists of PFENet-like programs"):
        image_list(data, "val", 0)


def test_masks_are_binary_and_classes_have_their_numbers(root: Path, lists: str) -> None:
    data = Fss1000(str(root), [lists])
    labels = data.label_map("cup/3")
    assert labels.dtype == np.uint8 and labels.shape == (10, 20)
    assert np.count_nonzero(labels == 1) == 61 and labels.max() == 1  # 128 counts, 127 does not
    assert (labels[9, 0], labels[9, 1]) == (0, 1)
    assert data.label_values("cup/3", [4, 5, 1]) == [254, 1, 254]
    assert data.class_pixels("cup/3") == ({0: 139, 5: 61}, 200)
    assert data.image_path("cup/3") == root / "cup/3.jpg"


def test_missing_folders_and_images_are_named(root: Path, lists: str) -> None:
    (root / "Bell").rename(root.parent / "gone")
    for suffix in ("jpg", "png"):
        (root / "cup" / f"10.{suffix}").unlink()
    with pytest.raises(
        DataError, match=r"lacks 1 of 1000 class folders \(Bell\) and 1 images of the others \(cup/10\)"
    ):
        Fss1000(str(root), [lists])
    data = Fss1000(str(root), [lists], allow_missing=True)
    pairs = pair_list(data, "val", 0)
    assert pairs.origin == "official, incomplete"
    assert (data.test_classes(0), len(pairs.pairs)) == ([5], 9)  # numbers stay those of the complete data
    assert data.class_names[4] == "cup"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cup: (cup / "3.png").unlink(), r"cup/3\.jpg has no \.png"),
        (lambda cup: (cup / "3.jpg").unlink(), r"cup/3\.png has no \.jpg"),
        (lambda cup: save_class(cup.parent, "cup", range(0, 1), exist_ok=True), "the image cup/0; expected"),
        (lambda cup: save_class(cup.parent, "cup", range(11, 12), exist_ok=True), "the image cup/11; expected"),
    ],
)
def test_images_without_masks_or_of_other_numbers_are_refused(root: Path, lists: str, change, message: str) -> None:
    change(root / "cup")
    with pytest.raises(DataError, match=message):
        Fss1000(str(root), [lists], allow_missing=True)


def test_foreign_folder_is_refused(tmp_path: Path, lists: str) -> None:
    save_class(tmp_path / "other", "unknown")
    with pytest.raises(DataError, match="no image of fss1000 qualifies"):
        pair_list(Fss1000(str(tmp_path / "other"), [lists], allow_missing=True), "val", 0)


@pytest.mark.parametrize("inner", ["FSS-1000", "fewshot_data", "fewshot_data/fewshot_data"])
def test_root_may_be_a_folder_above_and_has_its_lists(tmp_path: Path, lists: str, inner: str) -> None:
    for names in NAMES.values():
        for name in names:
            save_class(tmp_path / inner, name)
    data = Fss1000(str(tmp_path))  # finds <root>/lists
    assert pair_list(data, "val", 0).origin == "official"
    assert data.image_path("cup/1").is_file()
    assert pair_list(Fss1000(str(tmp_path), []), "val", 0).origin == "derived"


def test_drawn_splits_depend_on_the_names_alone() -> None:
    names = [f"class{i:03d}" for i in range(100)]
    splits = draw_splits(names[::-1])
    assert splits == draw_splits(names)
    assert [len(getattr(splits, part)) for part in ("trn", "val", "test")] == [52, 24, 24]
    assert sorted(splits.trn + splits.val + splits.test) == names
    assert [len(splits.numbers(part)) for part in ("trn", "val", "test")] == [52, 24, 24]
    assert splits.numbers("test")[-1] == 100
    two = draw_splits(["a", "b"])
    assert (len(two.trn), len(two.val), len(two.test), two.origin) == (1, 0, 1, "derived")
    assert draw_splits(["a"]).test == ("a",)


def test_few_classes_may_all_be_for_the_test(root: Path, lists: str) -> None:
    data = Fss1000(str(root), [], test_only=True)
    assert data.test_classes(0) == [1, 2, 3, 4, 5]
    with pytest.raises(DataError, match="no image of fss1000 qualifies for split trn"):
        pair_list(data, "trn", 0)
    with pytest.raises(SettingsError, match="no held-out classes"):
        pair_list(data, "held_out", 0)
    with pytest.raises(SettingsError, match="test_only is for data without lists"):
        Fss1000(str(root), [lists], test_only=True)


def test_altered_lists_are_refused(root: Path, tmp_path: Path) -> None:
    other = str(save_lists(tmp_path / "other"))
    with pytest.raises(
        DataError, match=r"trn\.txt was altered: found 2 classes, sha256 .*; expected 520, sha256 4e236"
    ):
        Fss1000(str(root), [other])
    assert (
        pair_list(Fss1000(str(root), [other], allow_unverified_lists=True), "val", 0).origin == "official, unverified"
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({**NAMES, "val": ["axe"]}, "the class axe is twice"),
        ({"trn": ["axe"], "val": ["bus"]}, r"test\.txt does not exist"),
    ],
)
def test_unusable_lists_are_named(tmp_path: Path, names: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_splits([save_lists(tmp_path, names)], allow_unverified=True)


def test_released_lists_have_the_published_checksums(real_data: Path) -> None:
    for folder in (real_data / "official-lists", real_data / "official-lists/hsnet"):
        splits = read_splits([folder])
        assert splits is not None and splits.origin == "official"
        assert (len(splits.trn), splits.numbers("val"), splits.numbers("test")) == (
            520,
            range(521, 761),
            range(761, 1001),
        )


def test_an_archive_without_masks_is_incomplete(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(fss_splits, "CLASSES", 1)
    save_class(tmp_path / "src", "cup")
    for mask in (tmp_path / "src/cup").glob("*.png"):
        mask.unlink()
    packed(tmp_path / "src", tmp_path / "archives/fewshot_data.zip")
    assert prepare("fss1000", "--root", tmp_path / "root", "--from", tmp_path / "archives", "--no-lists") == 2
    assert "10 images lack" in capsys.readouterr().err


def test_the_archive_is_unpacked(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "fss1000"
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
