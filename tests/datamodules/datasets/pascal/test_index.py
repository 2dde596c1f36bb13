import hashlib
import math
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import pairs_sha256
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.datamodules.datasets.pascal import CLASS_NAMES, Pascal, noise_table, set_samples
from fsbench.datamodules.indexes.mask_folder import read_names
from fsbench.datamodules.lists.official import checksums
from fsbench.protocols.image_lists import image_list
from fsbench.protocols.lists import pair_list
from tests.datamodules.builders import blocks, save_names, save_pairs

# sha256 of "<name>__<two digits>" lines with a final newline, in official order (fss-protocol §3.1)
TRAINING_FILES = [
    "40fded8be6afbc4b70953277f2a178af8055cddd4e73fb4646b7bf19704b9da2",
    "558167c3c6fea0cda1bb7c7a275e66d5de7bc13cbc97e00c5872ac84d5f0954e",
    "d07e35f4a4ae95774c619bafb57d65d682dbd5b9f33c7f71a4f5cef8e3f99609",
    "ffe09100c0c4d9c19d074a33b0f29fe5a89a730579ba39a9f9e908186298ac17",
]
VALIDATION_FILES = [
    "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df",
    "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14",
    "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb",
    "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a",
]

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
    index = Pascal(str(voc))
    assert index.test_classes(1) == [6, 7, 8, 9, 10]
    assert index.train_classes(1)[:6] == [1, 2, 3, 4, 5, 11]
    validation = pair_list(index, "val", 0)
    assert validation.pairs == (("2008_u", 1), ("2008_u", 4), ("2008_v", 1), ("2008_v", 2))
    assert validation.origin == "derived"
    assert pair_list(index, "trn", 1).pairs == (("2007_a", 2), ("2007_b", 2))
    assert pair_list(index, "trn", 0).pairs == (("2008_c", 8),)  # class 7 is there with too few samples


def test_training_joins_the_other_folds_in_ascending_order(voc: Path) -> None:
    assert pair_list(Pascal(str(voc)), "trn", 3).pairs == (("2007_a", 2), ("2007_b", 2), ("2008_c", 8))


def test_size_bins_are_half_open_shares_of_all_pixels(voc: Path) -> None:
    index = Pascal(str(voc))
    assert index.class_pixels("2008_u") == ({0: 27000, 1: 10000, 4: 3000}, 40000)
    assert pair_list(index, "5-10", 0).pairs == (("2008_u", 4),)
    assert pair_list(index, "0-15", 0).pairs == (("2008_u", 4),)
    with pytest.raises(DataError, match="no image of pascal qualifies for split 0-5 of fold 0"):
        pair_list(index, "0-5", 0)


def test_train_aug_names_the_training_images_where_it_exists(voc: Path) -> None:
    save_names(voc, train_aug=["/JPEGImages/2007_b.jpg /SegmentationClassAug/2007_b.png"])
    assert pair_list(Pascal(str(voc)), "trn", 1).pairs == (("2007_b", 2),)


def test_validation_image_in_the_training_list_is_an_error(voc: Path) -> None:
    save_names(voc, train_aug=["2007_b", "2008_u"])
    with pytest.raises(DataError, match=r"train_aug\.txt has 2008_u, which is in val\.txt too"):
        pair_list(Pascal(str(voc)), "trn", 1)


@pytest.mark.parametrize("inner", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_root_may_be_a_folder_above(tmp_path: Path, inner: str) -> None:
    save_pairs(tmp_path / "data" / inner, {"2007_b": MAPS["2007_b"]})
    index = Pascal(str(tmp_path / "data"))
    assert index.image_path("2007_b") == tmp_path / "data" / inner / "JPEGImages" / "2007_b.jpg"
    np.testing.assert_array_equal(index.label_map("2007_b"), MAPS["2007_b"])


def test_label_map_without_its_photo_is_an_error(voc: Path) -> None:
    (voc / "JPEGImages" / "2007_b.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 names in .*SegmentationClassAug have no image .*: 2007_b"):
        pair_list(Pascal(str(voc)), "trn", 1)


def test_number_that_is_no_class_is_named(voc: Path) -> None:
    save_pairs(voc, {"2007_a": blocks(40, 40, (21, 0, 0, 3, 3))})
    with pytest.raises(DataError, match=r"2007_a\.png holds the class number 21; expected 0, 255 or one of 1 to 20"):
        pair_list(Pascal(str(voc)), "trn", 1)


def test_list_with_foreign_classes_is_refused(voc: Path, tmp_path: Path) -> None:
    file = tmp_path / "lists/pascal/val/fold0.txt"
    file.parent.mkdir(parents=True)
    file.write_text("2008_u__01\n2008_v__07\n")
    with pytest.raises(DataError, match="val/fold0 has the class car; expected aeroplane, bicycle, bird, boat, bottle"):
        pair_list(Pascal(str(voc), [str(tmp_path / "lists")], allow_unverified_lists=True), "val", 0)


def test_unverified_lists_are_used_when_allowed(voc: Path, tmp_path: Path) -> None:
    file = tmp_path / "lists/pascal/val/fold0.txt"
    file.parent.mkdir(parents=True)
    file.write_text("2008_v__02\n2008_u__01\n")
    with pytest.raises(DataError, match="was altered"):
        pair_list(Pascal(str(voc), [str(tmp_path / "lists")]), "val", 0)
    pairs = pair_list(Pascal(str(voc), [str(tmp_path / "lists")], allow_unverified_lists=True), "val", 0)
    assert (pairs.pairs, pairs.origin) == ((("2008_v", 2), ("2008_u", 1)), "official, unverified")


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


@pytest.mark.slow
def test_all_label_maps_give_the_official_lists_and_size_splits(real_data: Path, all_label_maps: Path) -> None:
    hmnet = real_data / "official-lists/hmnet/pascal"
    train, sbd, val = (read_names(hmnet / f"{name}.txt") for name in ("voc_original_train", "sbd_data", "val"))
    save_names(all_label_maps, val=val, train=train, sbd_train=sbd)
    index = Pascal(str(all_label_maps))
    with_lists = Pascal(str(all_label_maps), [str(real_data / "official-lists")])
    for fold in range(4):
        own = [tuple(p for p in pair_list(index, "trn", (fold + 1) % 4).pairs if p[1] in index.test_classes(fold))]
        own += [pair_list(index, split, fold).pairs for split in ("val", *SIZE_BINS)]
        for split, pairs in zip(("trn", "val", *SIZE_BINS), own, strict=True):
            known = checksums("pascal")[split, fold]
            assert len(pairs) == known.pairs
            assert pairs_sha256(pairs, ordered=True) == known.sha256_ordered
            assert pair_list(index, split, fold).origin == "official"
        for pairs, expected in ((own[0], TRAINING_FILES[fold]), (own[1], VALIDATION_FILES[fold])):
            text = "".join(f"{name}__{number:02d}\n" for name, number in pairs)
            assert hashlib.sha256(text.encode()).hexdigest() == expected
        for part in ("trn", "val"):  # from SBD's and VOC's own lists and the label maps alone
            assert image_list(index, part, fold).origin == "official"
            assert image_list(with_lists, part, fold).origin == "official"
