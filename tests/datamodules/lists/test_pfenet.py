"""The lists of PFENet-like programs: the released files, and the rule that made them."""

import os
from pathlib import Path

import pytest

from fsbench.base.errors import DataError
from fsbench.base.files.opening import LIMITS
from fsbench.data.dataset import pairs_sha256
from fsbench.data.published import checksums
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.lists.official import read_official
from fsbench.datamodules.lists.pfenet import MIN_PIXELS, find_image_list
from fsbench.protocols.episode_rules.image_lists import image_list, pairs_by_pixels
from tests.datamodules.builders import blocks, save_coco, save_names, save_pairs

FULL, HALF, SMALL = (0, 0, 64, 64), (0, 0, 32, 64), (40, 0, 2, 2)
MAPS = {
    "2007_c": blocks(70, 70, (6, *FULL)),
    "2007_a": blocks(70, 70, (9, *FULL), (7, *HALF)),
    "2008_t": blocks(70, 70, (7, *FULL), (2, *SMALL)),  # a few pixels of class 2 keep it out of fold 0's training
    "2008_s": blocks(70, 70, (7, 0, 0, 32, 63)),  # 2016 pixels
    "2008_v": blocks(70, 70, (3, *FULL), (1, *HALF)),
    "2008_u": blocks(70, 70, (2, *FULL)),
}


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2012"
    save_pairs(root, MAPS)
    save_names(root, val=["2008_u", "2008_v"])
    return root


def test_rule_of_pascal(voc: Path) -> None:
    data = Pascal(str(voc))
    validation = image_list(data, "val", 0)
    assert validation.pairs == (("2008_u", 2), ("2008_v", 1), ("2008_v", 3))
    assert validation.origin == "derived"
    # every label map that is not for validation, ascending; classes of an image ascending
    assert image_list(data, "trn", 0).pairs == (("2007_a", 7), ("2007_a", 9), ("2007_c", 6))
    assert image_list(data, "trn", 2).pairs[-1] == ("2008_t", 7)


def test_training_images_come_in_the_order_of_sbd_and_voc(voc: Path) -> None:
    save_names(voc, train=["2007_a", "2008_t"], sbd_train=["2007_c", "2008_t", "2008_u"])  # 2008_u is for validation
    pairs = image_list(Pascal(str(voc)), "trn", 2).pairs
    assert list(dict.fromkeys(name for name, _ in pairs)) == ["2007_c", "2008_t", "2007_a"]


def write(folder: Path, names: list[str], classes: str | None, split: str = "val") -> Path:
    path = folder / f"pascal/fss_list/{split}/data_list_0.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"../data/JPEGImages/{name}.jpg ../data/Aug/{name}.png\n" for name in names))
    if classes is not None:
        (path.parent / "sub_class_file_list_0.txt").write_text(classes)
    return folder


def test_released_list_gives_the_order(voc: Path, tmp_path: Path) -> None:
    lists = write(tmp_path / "lists", ["2008_v", "2008_u"], "{2: [('x/2008_u.jpg', 'x/2008_u.png')], "
        "3: [('x/2008_v.jpg', 'x/2008_v.png')]}")  # fmt: skip
    with pytest.raises(DataError, match=r"data_list_0\.txt was altered: found 2 pairs"):
        image_list(Pascal(str(voc), [str(lists)]), "val", 0)
    pairs = image_list(Pascal(str(voc), [str(lists)], allow_unverified_lists=True), "val", 0)
    assert (pairs.pairs, pairs.origin) == ((("2008_v", 3), ("2008_u", 2)), "official, unverified")
    (lists / "pascal/fss_list/val/sub_class_file_list_0.txt").unlink()  # now the label maps say who shows what
    pairs = image_list(Pascal(str(voc), [str(lists)], allow_unverified_lists=True), "val", 0)
    assert pairs.pairs == (("2008_v", 1), ("2008_v", 3), ("2008_u", 2))
    write(tmp_path / "other", ["2008_v"], "{6: [('x/2008_v.jpg', 'x/2008_v.png')]}")
    with pytest.raises(DataError, match=r"data_list_0\.txt has classes of another fold than 0"):
        image_list(Pascal(str(voc), [str(tmp_path / "other")], allow_unverified_lists=True), "val", 0)


ENTRY = "[('x/a.jpg', 'x/a.png')]"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("__import__('os').mkdir('made')", r"cannot be read \(ValueError\)"),
        ("{1: [", r"cannot be read \(SyntaxError\)"),
        ("(" * 100_000, r"cannot be read"),
        ("[1, 2]", "holds something else"),
        (f"{{'1': {ENTRY}}}", "holds something else"),
        (f"{{0: {ENTRY}}}", "holds something else"),
        ("{1: [('x/a.jpg', 'x/b.png')]}", "holds something else"),
        ("{1: [('x/a.jpg',)]}", "holds something else"),
        ("{1: [('x/b.jpg', 'x/b.png')]}", "differ in 2 images, a for one"),
        ("{}", "differ in 1 images, a for one"),
    ],
)
def test_printed_dict_is_literals_of_the_same_images(tmp_path: Path, classes: str, message: str) -> None:
    write(tmp_path, ["a"], classes)
    with pytest.raises(DataError, match=message):
        find_image_list([tmp_path], "pascal", "val", 0, lambda photo: photo.stem)
    assert not Path("made").exists()


@pytest.mark.parametrize(
    ("names", "size", "message"),
    [
        (["a b"], None, r"list .*data_list_0\.txt is"),
        (["a", "b", "a"], None, r"list .*data_list_0\.txt names"),
        (["a"], LIMITS["printed list"] + 1, "has 24 MiB; expected at most 24"),
    ],
)
def test_damaged_and_huge_files_are_named(tmp_path: Path, names: list[str], size: int | None, message: str) -> None:
    write(tmp_path, names, f"{{1: {ENTRY}}}")
    if size is not None:
        os.truncate(tmp_path / "pascal/fss_list/val/sub_class_file_list_0.txt", size)
    with pytest.raises(DataError, match=message):
        find_image_list([tmp_path], "pascal", "val", 0, lambda photo: photo.stem)


def test_rule_of_coco(tmp_path: Path) -> None:
    def square(number: int, left: int, side: int) -> dict:
        right = left + side - 1
        return {"class": number, "segmentation": [[left, 0, right, 0, right, side - 1, left, side - 1]]}

    photos = {
        "b.jpg": (100, 200, [square(9, 100, 60), square(5, 0, 50)]),
        "a.jpg": (100, 200, [square(5, 0, 45)]),  # 2025 pixels
        "c.jpg": (100, 200, [square(2, 0, 50), square(1, 100, 50)]),
        "d.jpg": (100, 200, [square(2, 0, 50), square(1, 100, 2)]),
    }
    for split in ("train2014", "val2014"):
        save_coco(tmp_path, split, photos)
    data = Coco(str(tmp_path))
    assert image_list(data, "val", 0).pairs == (
        ("val2014/b.jpg", 5), ("val2014/b.jpg", 9), ("val2014/c.jpg", 1),
    )  # fmt: skip
    assert image_list(data, "trn", 1).pairs == (("train2014/b.jpg", 5), ("train2014/b.jpg", 9))
    with pytest.raises(DataError, match="no image of coco qualifies for split pfenet-trn of fold 0"):
        image_list(data, "trn", 0)  # a few pixels of class 1 are enough to leave d.jpg out
    lists = tmp_path / "lists/coco/val/data_list_0.txt"  # the default place of the lists
    lists.parent.mkdir(parents=True)
    lists.write_text("".join(f"../d/val2014/{n}.jpg ../d/annotations/val2014/{n}.png\n" for n in ("c", "b")))
    pairs = image_list(Coco(str(tmp_path), allow_unverified_lists=True), "val", 0)
    assert pairs.pairs == (("val2014/c.jpg", 1), ("val2014/b.jpg", 5), ("val2014/b.jpg", 9))


def test_a_folder_keeps_the_order_of_its_list_files(blocks_folder: Path) -> None:
    data = Folder(str(blocks_folder))
    names = (blocks_folder / "ImageSets/Segmentation/train.txt").read_text().split()
    expected = [
        (name, number)
        for name in names
        for number in (4, 5, 6)
        if not {1, 2, 3} & data.class_pixels(name)[0].keys() and number in data.class_pixels(name)[0]
    ]
    assert expected
    assert list(image_list(data, "trn", 0).pairs) == expected


def test_pairs_by_pixels() -> None:
    pixels = {"x": {0: 9, 3: 2048, 1: 3000}, "y": {1: 2047, 5: 1, 3: 9000}}
    assert pairs_by_pixels("yx", [3, 1], [], lambda n: (pixels[n], 1), MIN_PIXELS) == (("y", 3), ("x", 1), ("x", 3))
    assert pairs_by_pixels("yx", [3, 1], [5], lambda n: (pixels[n], 1), MIN_PIXELS) == (("x", 1), ("x", 3))


@pytest.mark.parametrize("fold", [0, *(pytest.param(fold, marks=pytest.mark.slow(4)) for fold in (1, 2, 3))])
def test_released_files_have_the_known_checksums(real_data: Path, large_lists: Path, fold: int) -> None:
    lists = real_data / "official-lists"
    tables = {(name, *key): known for name in ("pascal", "coco") for key, known in checksums(name).items()}
    for (dataset, split, own), known in tables.items():
        if not split.startswith("pfenet") or own != fold:
            continue
        pascal = dataset == "pascal"
        found = find_image_list(
            [lists if pascal else large_lists],
            dataset,
            split.removeprefix("pfenet-"),
            fold,
            lambda photo, pascal=pascal: photo.stem if pascal else f"{photo.parent.name}/{photo.name}",  # type: ignore[misc]
        )
        assert found is not None and len(found.names) == known.images
        members = found.members
        if members is None:  # COCO's second file is not at hand: HSNet's val lists have the same pairs
            same = read_official([lists], dataset, "val", fold)
            assert same is not None
            members = frozenset(same.pairs)
        pairs = tuple((name, number) for name in found.names for number in range(1, 81) if (name, number) in members)
        assert pairs_sha256(pairs, ordered=True) == known.sha256_ordered
        assert pairs_sha256(pairs, ordered=False) == known.sha256_sorted
