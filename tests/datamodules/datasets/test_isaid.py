"""iSAID-5i: the authors' folders and lists, in their order."""

from pathlib import Path

import numpy as np
import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.isaid import LABEL_SUFFIX, Isaid, Isaid512
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.reading import load_protocol
from tests.datamodules.builders import blocks, save_labels, save_photo

PATCHES = {name: [number] for number, name in enumerate(("P9", "P2", "P7", "P1"), start=1)} | {"P5": [1, 2, 7, 12]}


def save_patches(root: Path, shown: dict[str, list[int]], part: str = "val") -> Path:
    for name, numbers in shown.items():
        save_photo(root / f"{part}/images/{name}.png", 12, 16)
        regions = [(number, 0, 3 * place, 4, 3) for place, number in enumerate(numbers)]
        save_labels(root / f"{part}/semantic_png/{name}{LABEL_SUFFIX}", blocks(12, 16, *regions, (255, 10, 0, 2, 16)))
    return root


def save_large_patches(root: Path, part: str, shown: dict[str, dict[int, int]]) -> Path:
    """Patches of 512 by R2Net's folders: name -> class -> rows of 512 pixels that show it; void is the last row."""
    for name, rows in shown.items():
        save_photo(root / f"img_dir/{part}/{name}.png", 512, 512)
        starts = dict(zip(rows, range(0, 500, 50), strict=False))
        regions = [(number, starts[number], 0, rows[number], 512) for number in rows]
        save_labels(root / f"ann_dir/{part}/{name}{LABEL_SUFFIX}", blocks(512, 512, *regions, (255, 511, 0, 1, 512)))
    return root


def test_lists_are_derived_where_there_are_none(tmp_path):
    data = Isaid(str(save_patches(tmp_path / "remote_sensing/iSAID_patches", PATCHES).parents[1]))
    assert data.test_classes(1) == [6, 7, 8, 9, 10] and data.class_names[9] == "helicopter"
    pairs = pair_list(data, "val", 0)
    assert pairs.origin == "derived"
    assert pairs.pairs == (("P1", 4), ("P2", 2), ("P5", 1), ("P5", 2), ("P7", 3), ("P9", 1))
    assert set(np.unique(data.label_map("P5"))) == {0, 1, 2, 7, 12, 255}
    task = Task(0, drop_small=True, episodes=4)
    manifest = load_protocol("incontext").manifest(data, task)
    assert [e.query for e in manifest.episodes] == ["P2", "P5", "P5", "P9"]
    with pytest.raises(
        SettingsError, match=r"isaid has its test part alone in .*; found the part trn; expected train/images"
    ):
        data.candidates("trn")


def test_training_lists_are_those_of_the_other_folds_in_their_order(tmp_path):
    root = save_patches(save_patches(tmp_path, PATCHES), {"T2": [2, 6], "T1": [7, 11], "T3": [12]}, "train")
    data = Isaid(str(root))
    assert data.parts == ("val", "trn") and data.candidates("trn") == ["T1", "T2", "T3"]
    assert data.label_names() == ["P1", "P2", "P5", "P7", "P9", "T1", "T2", "T3"]
    assert data.image_path("T1") == root / "train/images/T1.png"
    assert data.label_file("T1").parent == root / "train/semantic_png"
    assert pair_list(data, "trn", 0).pairs == (("T2", 6), ("T1", 7), ("T1", 11), ("T3", 12))
    assert data.file_pairs("trn", 0) == (("T2", 2),)  # which `data check` compares with the file of the fold
    for fold, lines in enumerate(("T2__02", "T1__07\nT2__06", "T3__12\nT1__11")):
        path = tmp_path / f"lists/isaid/trn/fold{fold}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{lines}\n")
    released = Isaid(str(root), allow_unverified_lists=True)
    pairs = pair_list(released, "trn", 0)
    assert pairs.pairs == (("T1", 7), ("T2", 6), ("T3", 12), ("T1", 11)) and pairs.origin == "official, unverified"
    save_patches(root, {"T1": [7]})
    with pytest.raises(DataError, match=r"the patch T1 is in val/images/T1.png and in train/images"):
        Isaid(str(root)).candidates("val")


def test_r2nets_lists_have_large_objects_by_name(tmp_path):
    root = tmp_path / "iSAID"
    save_large_patches(root, "val", {"b": {1: 4, 2: 3}, "a": {3: 4, 9: 40}, "c": {12: 9}})
    save_large_patches(root, "train", {"t2": {6: 5, 1: 3}, "t1": {6: 4, 1: 4}, "t3": {11: 4, 7: 40}})
    protocol, data = load_protocol("isaid_r2net"), Isaid512(str(tmp_path))
    assert protocol.draw.pairs(data, "val", 0).pairs == (("a", 3), ("b", 1))  # 2048 pixels are four rows
    assert protocol.draw.pairs(data, "trn", 0).pairs == (("t2", 6), ("t3", 7), ("t3", 11))  # t1 has a large ship
    assert protocol.draw.pairs(data, "val", 1).pairs == (("a", 9),)
    lists = {choice: protocol.draw.training_pairs(data, 0, choice).pairs for choice in (None, True, False)}
    assert lists[None] == protocol.draw.pairs(data, "trn", 0).pairs
    assert lists[True] == (("t3", 7), ("t3", 11))  # t2 has a small ship
    assert set(lists[False]) == {("t1", 6), ("t2", 6), ("t3", 7), ("t3", 11)}
    stride = Isaid512(str(tmp_path), division="stride")
    assert stride.name == "isaid512_stride" and stride.test_classes(2) == [3, 6, 9, 12, 15]
    assert protocol.draw.pairs(stride, "val", 2).pairs == (("a", 3), ("a", 9), ("c", 12))
    with pytest.raises(SettingsError, match="unknown division 'blocs'; did you mean 'blocks'"):
        Isaid512(str(tmp_path), division="blocs")
