"""`fsbench data prepare coco`: rendered label maps, and the validation images alone."""

import re
from pathlib import Path

import numpy as np
import pytest

from fsbench.cli.main import main
from fsbench.data.image_io import read_label_map
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.coco.dataset import RENDERED
from fsbench.protocols.lists import pair_list
from tests.datamodules.builders import save_coco
from tests.datamodules.prepare.archives import packed, prepare, times


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


def test_label_maps_of_another_program_are_not_removed(coco_archives: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "coco"
    arguments = ("coco", "--root", root, "--from", coco_archives, "--no-lists", "--allow-unverified")
    own = root / "annotations/train2014/COCO_train2014_2.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert prepare(*arguments, "--render") == 2
    assert "train2014 has label maps of another program; expected none" in capsys.readouterr().err
    assert own.read_bytes() == b"mine"


def test_coco_for_evaluation_alone(coco_archives: Path, tmp_path: Path) -> None:
    (coco_archives / "train2014.zip").unlink()
    root = tmp_path / "coco"
    arguments = ("coco", "--root", root, "--from", coco_archives, "--no-lists", "--allow-unverified")
    assert prepare(*arguments, "--validation-only") == 0
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["annotations", "val2014"]


def test_the_test_of_all_classes_needs_no_training_part(coco_archives: Path, tmp_path: Path, capsys) -> None:
    """`coco_all` is prepared and checked without the archive of the training photos and the lists of trainings."""
    (coco_archives / "train2014.zip").unlink()
    root = tmp_path / "coco"
    arguments = ("coco_all", "--root", root, "--from", coco_archives, "--allow-unverified")
    assert prepare(*arguments, "--lists", tmp_path) == 2
    assert "has none of the 4 lists, such as hsnet/coco/val/fold0.pkl" in capsys.readouterr().err
    assert prepare(*arguments, "--no-lists") == 0
    assert sorted(path.name for path in (root / "annotations").iterdir()) == ["instances_val2014.json"]
    assert not (root / "train2014").exists()
    capsys.readouterr()
    assert main(["data", "check", "coco_all", "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "train2014" not in printed and "trn" not in printed and "list 0-5" not in printed
    assert re.search("list val fold 0 +1 pairs", printed)
