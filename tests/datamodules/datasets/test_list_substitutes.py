"""Published lists that are absent: every data set says once what stands in their place, and keeps it for the record."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fsbench.data.dataset import Part, SegmentationData
from fsbench.data.list_substitutes import list_substitutes, print_once, substitute_list
from fsbench.datamodules.datasets.coco import Coco, CocoAll
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.fss1000 import Fss1000
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.protocols.draws.boxes import BoxTest
from fsbench.protocols.draws.gfss import ValidationImages
from fsbench.protocols.episode_rules.image_lists import ImageLists, image_list
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.reading import load_protocol
from tests.data_modules import episodic
from tests.datamodules.builders import blocks, save_coco, save_names, save_pairs
from tests.datamodules.datasets.test_fss1000 import save_class

FULL = (0, 0, 90, 90)
MAPS = {
    "2007_a": blocks(100, 100, (7, *FULL)),
    "2007_b": blocks(100, 100, (6, *FULL)),
    "2008_u": blocks(100, 100, (2, *FULL), (4, 0, 0, 70, 10)),
    "2008_v": blocks(100, 100, (1, *FULL)),
}


def pascal(root: Path, **lists: list[str]) -> str:
    save_pairs(root / "VOC2012", MAPS)
    save_names(root / "VOC2012", val=["2008_u", "2008_v"], **lists)
    return str(root)


def image_names(root: Path) -> str:
    file = root / "lists/pascal/fss_list/val/data_list_0.txt"
    file.parent.mkdir(parents=True)
    file.write_text(
        "".join(f"JPEGImages/{name}.jpg SegmentationClassAug/{name}.png\n" for name in ("2008_u", "2008_v"))
    )
    return str(root / "lists")


def coco(root: Path) -> str:
    square = {"class": 1, "segmentation": [[0.0, 0.0, 60.0, 0.0, 60.0, 60.0, 0.0, 60.0]]}
    for split in ("train2014", "val2014"):
        save_coco(root, split, {f"COCO_{split}_{i:012d}.jpg": (70, 70, [square]) for i in range(3)})
    return str(root)


def fss1000(root: Path) -> str:
    for name in ("axe", "bus", "cup", "zebra"):
        save_class(root, name)
    return str(root)


DERIVED = "one by a rule of the suite (derived)"
EVERY = "every label map outside val.txt, 2 of 10582"
MORE = "the 2 images of the data set's training list, more than PFENet's and in another order"
Case = tuple[Callable[[Path], SegmentationData], Callable[[SegmentationData], object], Part, list[str]]
CASES: dict[str, Case] = {
    "pascal sizes": (
        lambda root: Pascal(pascal(root)), lambda data: pair_list(data, "5-10", 0), "val",
        [f"pascal, test images: the authors' list {one} is absent; in its place: {DERIVED}" for one in ("val", "5-10")],
    ),
    "pascal training": (
        lambda root: Pascal(pascal(root)), lambda data: pair_list(data, "trn", 0), "trn",
        [
            f"pascal, training images: ImageSets/Segmentation/train_aug.txt is absent; in its place: {EVERY}",
            f"pascal, training images: the authors' list trn is absent; in its place: {DERIVED}",
        ],
    ),
    "pascal images": (
        lambda root: Pascal(pascal(root, train_aug=["2007_b", "2007_a"], train=["2007_a"])),
        lambda data: image_list(data, "trn", 0), "trn",
        [
            f"pascal, training images: ImageSets/Segmentation/sbd_train.txt is absent; in its place: {MORE}",
            f"pascal, training images: the authors' list pfenet-trn is absent; in its place: {DERIVED}",
        ],
    ),
    "pascal images with novel classes": (
        lambda root: Pascal(pascal(root, train_aug=["2007_b", "2007_a"], sbd_train=["2007_a"])),
        lambda data: load_protocol("pfenet").draw.training_pairs(data, 0, False), "trn",
        [f"pascal, training images: ImageSets/Segmentation/train.txt is absent; in its place: {MORE}"],
    ),
    "pascal classes of images": (
        lambda root: Pascal(pascal(root), [image_names(root)], allow_unverified_lists=True),
        lambda data: image_list(data, "val", 0), "val",
        ["pascal, test images: sub_class_file_list_0.txt beside data_list_0.txt is absent; in its place: the classes "
         "that the label maps show"],
    ),
    "pascal's order": (
        lambda root: Pascal(pascal(root)), lambda data: ValidationImages.find(data).images(), "val",
        ["pascal, test images: the authors' list val.txt is absent; in its place: another of 2 images"],
    ),
    "pascal boxes": (
        lambda root: Pascal(pascal(root)), lambda data: BoxTest.find(data).origin, "val",
        ["pascal, test images: the folder SegmentationObject is absent; in its place: boxes of connected parts of the "
         "label maps"],
    ),
    "coco's order": (
        lambda root: Coco(coco(root)), lambda data: ValidationImages.find(data).images(), "val",
        ["coco, test images: gfss/coco/val.txt is absent; in its place: all annotated images by name, which draws "
         "other supports"],
    ),
    "all of coco": (
        lambda root: CocoAll(coco(root)), lambda data: pair_list(data, "val", 0), "val",
        [f"coco_all, test images: the authors' list val is absent; in its place: {DERIVED}"],
    ),
    "fss1000": (
        lambda root: Fss1000(fss1000(root)), lambda data: pair_list(data, "held_out", 0), "held_out",
        [f"fss1000, validation images: the authors' list held_out is absent; in its place: {DERIVED}"],
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def silence_so_far() -> None:
    """Let each test be the first of its process."""
    print_once.cache_clear()


@pytest.mark.parametrize("case", CASES)
def test_a_list_that_stands_for_an_absent_one_is_said_once_and_kept(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, ask, part, expected = CASES[case]
    for root in (tmp_path, tmp_path / "again"):  # as each run of a command has the data set of its own
        data = make(root)
        for _ in range(2):
            ask(data)
            assert list_substitutes(data, part) == expected
    said = capsys.readouterr().err.splitlines()
    assert said == [f"fsbench: note: {one}" for one in expected]


def test_nothing_is_said_where_no_list_is_absent(tmp_path: Path, blocks_folder: Path, capsys) -> None:
    """SBD's order, data sets without published lists, samples that are all test, derived and authors' lists by wish."""
    voc = Pascal(pascal(tmp_path, train_aug=["2007_b", "2007_a"], train=["2007_a"], sbd_train=["2007_b"]))
    assert ImageLists.of(voc).image_order("trn") == ["2007_b", "2007_a"]
    folder = Folder(str(blocks_folder))
    for data, split in ((folder, "val"), (folder, "trn"), (Fss1000(fss1000(tmp_path / "f"), test_only=True), "val")):
        pair_list(data, split, 0)
    for asked in (
        Pascal(str(tmp_path), lists=[]),
        Coco(coco(tmp_path / "c"), lists=[]),
        Fss1000(str(tmp_path / "f"), []),
    ):
        assert pair_list(asked, "val", 0).origin == "derived"  # as was asked for
    file = tmp_path / "lists/pascal/val/fold0.txt"
    file.parent.mkdir(parents=True)
    file.write_text("2008_v__01\n2008_u__02\n")
    given = Pascal(str(tmp_path), [str(tmp_path / "lists")], allow_unverified_lists=True)
    assert pair_list(given, "val", 0).origin == "official, unverified"
    assert capsys.readouterr().err == ""


def test_records_name_the_lists_of_the_training_alone(tmp_path: Path) -> None:
    data = episodic(Pascal(pascal(tmp_path, train_aug=["2007_b", "2007_a"])), protocol="pfenet", empty=False)
    assert data.protocol.draw.pairs(data.dataset, "val", 0).origin == "derived"  # which a manifest's header says
    assert data.training_list_notes == []
    assert data.training_lists == "derived"
    assert [note.partition(";")[0] for note in data.training_list_notes] == [
        "pascal, training images: ImageSets/Segmentation/sbd_train.txt is absent",
        "pascal, training images: the authors' list pfenet-trn is absent",
    ]


def test_only_the_first_process_of_several_says_it(blocks_folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    data = Folder(str(blocks_folder))
    substitute_list(data, "trn", "a list", "another")
    assert capsys.readouterr().err == ""
    assert list_substitutes(data, "trn") == ["blocks, training images: a list is absent; in its place: another"]
