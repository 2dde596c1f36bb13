"""Label maps that number other classes than folds.yaml says: `data check` says so, and tests of them are refused."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

import fsbench
from fsbench.base.errors import DataError
from fsbench.cli.main import main
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.test import Test
from tests.datamodules.builders import blocks, save_names

CLASSES = ("red", "blue", "green", "gold")
FOLDS = (("red", "blue"), ("green", "gold"))
FROM_0 = (
    "gold (4) is in no label map of train.txt or val.txt; numbers found: 1 to 3, 255; are the label maps numbered "
    "from 0? 0 is the background: add 1 to the number of each class"
)
NOWHERE = (
    "green (3) and gold (4) are in no label map of train.txt or val.txt; numbers found: 1 to 2; expected label maps "
    "that show each class of the fold; correct the label maps or folds.yaml, or leave it out with --drop-small"
)
ALL_VOID = "all label maps hold 0 and 255 alone, and 255 is void: save the class as 1"


def save(root: Path, classes: Sequence[str] = CLASSES, folds: Sequence[Sequence[str]] = FOLDS, shown: int = 4) -> Path:
    """16 images, each with an object of one of the first `shown` classes; half of them are for training."""
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (root / folder).mkdir(parents=True)
    for number in range(16):
        labels = blocks(20, 30, (number % shown + 1, 2, 3, 8, 9 + number))
        Image.fromarray(labels).save(root / "SegmentationClassAug" / f"i{number:02d}.png")
        photo = np.random.RandomState(number).randint(0, 256, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(photo).save(root / "JPEGImages" / f"i{number:02d}.png")
    save_names(root, train=[f"i{n:02d}" for n in range(8)], val=[f"i{n:02d}" for n in range(8, 16)])
    description = {"name": "squares", "classes": list(classes), "folds": [list(fold) for fold in folds]}
    (root / "folds.yaml").write_text(yaml.safe_dump(description))
    return root


def change(root: Path, names: range, new: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write label maps anew, as OpenCV writes them."""
    for number in names:
        file = str(root / f"SegmentationClassAug/i{number:02d}.png")
        cv2.imwrite(file, new(cv2.imread(file, cv2.IMREAD_GRAYSCALE)).astype(np.uint8))


def from_0(labels: np.ndarray) -> np.ndarray:
    """Number the classes from 0 and the background 255, as sets without a background class have them."""
    return np.where(labels == 0, 255, labels.astype(int) - 1)


def opened(root: Path, fold: int = 0, protocol: str = "hsnet", **options: Any) -> Test:
    return fsbench.load_test("folder", root=root, protocol=protocol, fold=fold, episodes=4, **options)


def check(root: Path, capsys: pytest.CaptureFixture, level: str) -> list[str]:
    """Return what `fsbench data check` says at a level, without its subject."""
    status = main(["data", "check", "folder", "--root", str(root)])
    lines = capsys.readouterr().out.splitlines()
    assert status == any(line.startswith("PROBLEM") for line in lines)
    return [re.split(r"\s{2,}", line, maxsplit=2)[2] for line in lines if line.startswith(level)]


@pytest.mark.parametrize("protocol", ["fscs", "pfenet", "bam_gfss"])
@pytest.mark.parametrize("fold", [0, 1])
def test_label_maps_numbered_from_0_are_refused(tmp_path: Path, protocol: str, fold: int) -> None:
    """Also for the fold whose numbers are all there: it would show the objects of other classes."""
    root = save(tmp_path)
    change(root, range(16), from_0)
    for drop_small in (False, True):
        with pytest.raises(DataError) as caught:
            opened(root, fold, protocol, drop_small=drop_small)
        assert str(caught.value) == FROM_0


def test_check_and_commands_refuse_label_maps_numbered_from_0(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, manifest = save(tmp_path / "data"), tmp_path / "list.jsonl"
    sound = opened(root)
    sound.manifest.write(manifest)
    change(root, range(16), from_0)
    assert check(root, capsys, "PROBLEM") == [FROM_0]
    monkeypatch.chdir(tmp_path)
    build = ["data", "manifest", "build", "--dataset", "folder", "--data-root", str(root), "--out", "m.jsonl"]
    bench = ["bench", "--method", "prototype", "--dataset", "folder", "--data-root", str(root)]
    bench += ["--backbone", "demo", "--weights", "random"]
    for command in (build, ["kit", "folder", "--data-root", str(root), "--out", "kit"], bench):
        assert main(command) != 0, command
        assert FROM_0 in "".join(capsys.readouterr()), command


def test_a_given_list_is_held_against_the_classes(tmp_path: Path) -> None:
    """A list without hashes, whose images show the numbers that it names."""
    root = save(tmp_path / "data")
    test = opened(root)
    test.manifest.write(tmp_path / "list.jsonl")
    assert len(fsbench.load_test(manifest=tmp_path / "list.jsonl", dataset="folder", root=root)) == 4
    change(root, range(16), lambda labels: np.where(labels == 0, 9, labels))
    with pytest.raises(DataError, match=r"holds the class number 9; expected 0, 255 or one of 1 to 4"):
        fsbench.load_test(manifest=tmp_path / "list.jsonl", dataset="folder", root=root)


def test_a_class_of_the_fold_in_no_label_map_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The background is in every label map, so that they are not numbered from 0."""
    root = save(tmp_path, shown=2)
    for protocol in ("fscs", "hsnet", "pfenet"):
        with pytest.raises(DataError) as caught:
            opened(root, 1, protocol)
        assert str(caught.value) == NOWHERE
    assert check(root, capsys, "PROBLEM") == [NOWHERE]


def test_an_absent_class_may_be_left_out(tmp_path: Path) -> None:
    root = save(tmp_path, shown=3)
    with pytest.raises(DataError, match=r"^gold \(4\) is in no label map"):
        opened(root, 1, "fscs")
    assert {episode.query_class for episode in opened(root, 0).manifest.episodes} == {1, 2}
    assert opened(root, 1, drop_small=True).manifest.header.dropped_classes == [4]


def test_a_class_that_training_images_alone_show_is_no_contradiction(tmp_path: Path) -> None:
    """As in a small part of a larger data set."""
    root = save(tmp_path)
    change(root, range(8, 16), lambda labels: np.where(labels == 4, 0, labels))
    assert {episode.query_class for episode in opened(root, 1).manifest.episodes} == {3}


def test_a_full_data_set_without_its_last_class_may_have_a_background(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """1 to 3 are found as where classes are numbered from 0, but 0 is in every label map."""
    root = save(tmp_path, shown=3, folds=[["red", "blue"]])
    assert len(opened(root)) == 4
    assert check(root, capsys, "PROBLEM") == []


def test_training_images_are_counted_only_where_a_class_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = save(tmp_path)
    counted: list[str] = []
    read = Folder.label_map
    monkeypatch.setattr(Folder, "label_map", lambda self, name: counted.append(name) or read(self, name))
    opened(root)
    assert set(counted) == {f"i{n:02d}" for n in range(8, 16)}


def test_masks_of_0_and_255_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for classes, what in ((["red"], "the class as 1"), (["red", "blue"], "each class as its number in folds.yaml")):
        root = save(tmp_path / str(len(classes)), classes, [classes], shown=len(classes))
        change(root, range(16), lambda labels: (labels > 0) * 255)
        expected = ALL_VOID.replace("the class as 1", what)
        for protocol in ("fscs", "hsnet", "pfenet"):
            with pytest.raises(DataError) as caught:
                opened(root, 0, protocol)
            assert str(caught.value) == expected
        assert check(root, capsys, "PROBLEM") == [expected]


def test_masks_of_0_and_255_in_one_list_or_a_few(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = save(tmp_path, ["red"], [["red"]], shown=1)
    change(root, range(9, 11), lambda labels: (labels > 0) * 255)
    assert len(opened(root)) == 4
    assert check(root, capsys, "note") == ["2 label maps hold 0 and 255 alone, and 255 is void: i09, i10"]
    change(root, range(8, 16), lambda labels: (labels > 0) * 255)
    with pytest.raises(DataError, match=r"^all label maps of val\.txt hold 0 and 255 alone"):
        opened(root)


def test_a_number_that_is_no_class_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """In training images as well, which a test without training does not read."""
    root = save(tmp_path, ["red", "blue"], [["red", "blue"]], shown=2)
    change(root, range(3, 4), lambda labels: labels * 4)
    (problem,) = check(root, capsys, "PROBLEM")
    assert "i03.png holds the class number 8; expected 0, 255 or one of 1 to 2; correct" in problem
    assert len(opened(root)) == 4
    change(root, range(12, 13), lambda labels: labels * 3)
    with pytest.raises(DataError, match=r"i12\.png holds the class number 3"):
        opened(root)
