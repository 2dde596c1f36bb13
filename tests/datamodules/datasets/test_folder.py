"""A folder with a folds.yaml: its lists and counts, and one clear line for a wrong description or bad files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fsbench.base.errors import DataError
from fsbench.datamodules.datasets.folder import EXAMPLE, Folder
from fsbench.protocols.episode_rules.pair_lists import pair_list
from tests.datamodules.builders import blocks, save_names, save_pairs, save_photo

MAPS = {
    "c": blocks(10, 20, (1, 0, 0, 2, 2), (2, 5, 0, 1, 10)),
    "a": blocks(10, 20, (4, 0, 0, 10, 10), (255, 0, 10, 1, 1)),
    "b": blocks(10, 20, (3, 0, 0, 3, 3), (1, 4, 0, 1, 5)),
    "v": blocks(10, 20, (2, 0, 0, 5, 6), (1, 6, 0, 3, 3), (3, 0, 15, 1, 1)),
    "u": blocks(10, 20, (1, 0, 0, 2, 5), (4, 5, 5, 1, 1)),
}


def describe(root: Path, **changes: object) -> None:
    root.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_load(EXAMPLE) | changes
    (root / "folds.yaml").write_text(yaml.safe_dump({k: v for k, v in settings.items() if v is not None}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "shapes"
    save_pairs(root, MAPS)
    save_names(root, train=["c", "a", "b"], val=["v", "u"])
    describe(root)
    return root


def test_the_example_describes_a_folder(root: Path) -> None:
    data = Folder(str(root))
    assert (data.name, data.class_names) == ("shapes", ("circle", "square", "star", "ring"))
    assert (data.folds, data.query_sampling, data.description.augment_threshold) == (2, "sequential", 0.07)
    assert (data.test_classes(0), data.train_classes(0)) == ([1, 2], [3, 4])


def test_lists_have_the_order_of_pascal(root: Path) -> None:
    data = Folder(str(root))
    assert pair_list(data, "val", 0).pairs == (("u", 1), ("v", 1), ("v", 2))
    assert pair_list(data, "trn", 0).pairs == (("b", 3), ("a", 4))
    assert pair_list(data, "trn", 1).pairs == (("b", 1), ("c", 1), ("c", 2))
    assert pair_list(data, "val", 0).origin == "derived"


def test_size_bins(root: Path) -> None:
    data = Folder(str(root))
    assert pair_list(data, "0-5", 0).pairs == (("v", 1),)  # 9 of 200 pixels
    assert pair_list(data, "5-10", 0).pairs == (("u", 1),)  # 10 of 200: the lower bound belongs to the bin
    with pytest.raises(DataError, match="no image of shapes qualifies for split 10-15"):
        pair_list(data, "10-15", 0)
    assert data.class_pixels("u") == ({0: 189, 1: 10, 4: 1}, 200)


def test_a_label_map_of_equal_size_and_time_is_counted_again(root: Path, cache: Path) -> None:
    """Counts are of the contents."""
    label = root / "SegmentationClassAug/u.png"
    label.write_bytes(label.read_bytes().ljust(2000, b"\0"))
    data = Folder(str(root))
    data.count_pixels("val", ["u", "v"])
    assert data.class_pixels("u") == ({0: 189, 1: 10, 4: 1}, 200)
    written = label.stat()
    label.write_bytes((root / "SegmentationClassAug/v.png").read_bytes().ljust(2000, b"\0"))
    os.utime(label, ns=(written.st_atime_ns, written.st_mtime_ns))
    again = Folder(str(root))
    again.count_pixels("val", ["u", "v"])
    assert again.class_pixels("u") == data.class_pixels("v") != data.class_pixels("u")


def test_min_pixels_leaves_small_objects_out(root: Path) -> None:
    describe(root, min_pixels=10)
    assert pair_list(Folder(str(root)), "val", 0).pairs == (("u", 1), ("v", 2))


def test_defaults_and_overrides(root: Path) -> None:
    describe(root, images=None, masks=None, train=None, val=None, augment_threshold=0.2, query_sampling="class_first")
    data = Folder(str(root))
    assert (data.query_sampling, data.description.augment_threshold) == ("class_first", 0.2)
    assert len(pair_list(data, "val", 0).pairs) == 3


def test_classes_may_leave_numbers_out_and_folds_may_give_numbers(root: Path) -> None:
    save_pairs(root, {"w": blocks(10, 20, (9, 0, 0, 2, 2))})
    save_names(root, val=["w", "v"])
    describe(root, classes={1: "circle", 2: "square", 3: "star", 9: "ring"}, folds=[[9, "star"]])
    data = Folder(str(root))
    assert (data.class_names[8], len(data.class_names)) == ("ring", 9)
    assert (data.test_classes(0), data.train_classes(0)) == ([3, 9], [1, 2])
    assert pair_list(data, "val", 0).pairs == (("v", 3), ("w", 9))


def test_photos_may_be_png_or_jpeg(root: Path) -> None:
    (root / "JPEGImages" / "v.jpg").unlink()
    save_photo(root / "JPEGImages" / "v.png", 10, 20)
    (root / "JPEGImages" / "u.jpg").rename(root / "JPEGImages" / "u.JPEG")
    data = Folder(str(root))
    assert len(pair_list(data, "val", 0).pairs) == 3
    assert [data.image_path(name).name for name in ("v", "u", "c")] == ["v.png", "u.JPEG", "c.jpg"]


def test_a_wrong_description_shows_an_example(root: Path) -> None:
    describe(root, folds=None)
    with pytest.raises(DataError, match="folds is missing") as caught:
        Folder(str(root))
    lines = str(caught.value).splitlines()[1:]
    assert yaml.safe_load("\n".join(lines)) == yaml.safe_load(EXAMPLE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, "classes is missing; expected the keys name, classes,"),
        ({"mask": "Masks"}, "the key 'mask' is unknown; did you mean 'masks'"),
        ({"classes": ["a", "a"]}, "the same name twice"),
        ({"classes": ["a", True]}, "classes is True, expected text"),
        ({"classes": {0: "a"}}, r"classes.* is 0, expected greater than 0"),
        ({"folds": []}, r"folds is \[\], expected a list of one or more"),
        ({"folds": [["circle", "cube"]]}, "folds has 'cube'"),
        ({"folds": [["circle"], [1]]}, "has a class twice"),
        ({"query_sampling": "any"}, "query_sampling is 'any', expected 'sequential', 'class_first' or 'by_turns'"),
        ({"masks": "Masks"}, "Masks does not exist; expected the folder that .*folds.yaml names"),
    ],
)
def test_wrong_description_says_where(root: Path, changes: dict, message: str) -> None:
    describe(root, **changes)
    with pytest.raises(DataError, match=message):
        Folder(str(root))


WRONG = [
    (
        lambda root: save_names(root, val=["v", "u", "gone", "lost"]),
        r"2 of 4 names in .*val\.txt have no image .*JPEGImages: gone, lost;",
    ),
    (
        lambda root: (root / "SegmentationClassAug/v.png").unlink(),
        r"1 of 2 names in .*val\.txt have no label map .*: v;",
    ),
    (
        lambda root: save_pairs(root, {"u": blocks(10, 20, (1, 0, 0, 2, 5), (5, 5, 5, 1, 1))}),
        r"u\.png holds the class number 5; expected 0, 255 or one of 1 to 4",
    ),
    (lambda root: save_names(root, val=["v", "u", "v"]), r"val\.txt has the name v twice"),
    (lambda root: save_photo(root / "JPEGImages/u.png", 10, 20), r"two files named u: u\.jpg and u\.png"),
    (lambda root: save_names(root, val=[]), r"val\.txt is empty"),
    (lambda root: save_names(root, val=["", ""]), r"val\.txt is empty"),
    (lambda root: (root / "ImageSets/Segmentation/val.txt").unlink(), r"val\.txt cannot be read"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_files_and_lists_are_named(root: Path, change: Callable[[Path], object], message: str) -> None:
    change(root)
    with pytest.raises(DataError, match=message):
        pair_list(Folder(str(root)), "val", 0)
