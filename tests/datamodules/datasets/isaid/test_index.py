"""iSAID-5i: the authors' folders and lists, in their order."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from datamodules.datasets.isaid.index import LABEL_SUFFIX, Isaid
from fsbench.episodes.task import EpisodeTask
from fsbench.errors import DataError, SettingsError
from fsbench.protocols.lists import pair_list
from fsbench.protocols.registry import load_protocol
from tests.datamodules.builders import blocks, save_labels, save_photo
from tests.goldens.kinds.incontext import ISAID_LISTS

PATCHES = {name: [number] for number, name in enumerate(("P9", "P2", "P7", "P1"), start=1)} | {"P5": [1, 2, 7, 12]}


def save_patches(root: Path, shown: dict[str, list[int]]) -> Path:
    for name, numbers in shown.items():
        save_photo(root / f"val/images/{name}.png", 12, 16)
        regions = [(number, 0, 3 * place, 4, 3) for place, number in enumerate(numbers)]
        save_labels(root / f"val/semantic_png/{name}{LABEL_SUFFIX}", blocks(12, 16, *regions, (255, 10, 0, 2, 16)))
    return root


def test_lists_are_derived_where_there_are_none(tmp_path):
    index = Isaid(str(save_patches(tmp_path / "remote_sensing/iSAID_patches", PATCHES).parents[1]))
    assert index.test_classes(1) == [6, 7, 8, 9, 10] and index.class_names[9] == "helicopter"
    pairs = pair_list(index, "val", 0)
    assert pairs.origin == "derived"
    assert pairs.pairs == (("P1", 4), ("P2", 2), ("P5", 1), ("P5", 2), ("P7", 3), ("P9", 1))
    assert set(np.unique(index.label_map("P5"))) == {0, 1, 2, 7, 12, 255}
    task = EpisodeTask(0, skip_small_classes=True, episodes=4)
    manifest = load_protocol("incontext").manifest(index, task)
    assert [e.query for e in manifest.episodes] == ["P2", "P5", "P5", "P9"]
    with pytest.raises(SettingsError, match="isaid has its test part alone; found the part trn"):
        index.candidates("trn")


def test_an_episode_for_each_line_and_no_second_turn(tmp_path):
    index = Isaid(str(save_patches(tmp_path, PATCHES)))
    task = EpisodeTask(0, skip_small_classes=True)
    assert len(load_protocol("incontext").manifest(index, task).episodes) == 6  # of six pairs, not 3657


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """The authors' lists as files."""
    lines = [line.split() for line in gzip.decompress(ISAID_LISTS.read_bytes()).decode().splitlines()]
    folder = tmp_path / "lists/isaid/val"
    folder.mkdir(parents=True)
    for fold in range(3):
        (folder / f"fold{fold}.txt").write_text("".join(f"{pair}\n" for own, pair in lines if int(own) == fold))
    return tmp_path / "lists"


def test_the_authors_lists_are_verified_and_kept_in_their_order(tmp_path, lists):
    root = save_patches(tmp_path / "patches", PATCHES)
    with pytest.raises(DataError, match=r"3010 of 3010 names in the official list val/fold0 have no image"):
        pair_list(Isaid(str(root), [str(lists)]), "val", 0)
    file = lists / "isaid/val/fold0.txt"
    file.write_text("\n".join(sorted(file.read_text().split())))
    with pytest.raises(DataError, match=r"fold0.txt was altered: found 3108 pairs, sha256"):
        pair_list(Isaid(str(root), [str(lists)]), "val", 0)
    file.write_text("P9__01\nP5__01\n")
    pairs = pair_list(Isaid(str(root), [str(lists)], allow_unverified_lists=True), "val", 0)
    assert pairs.pairs == (("P9", 1), ("P5", 1)) and pairs.origin == "official, unverified"


def test_a_folder_without_patches_says_what_is_expected(tmp_path):
    with pytest.raises(
        DataError, match=r"has no val/images and no val/semantic_png; expected val/images and val/seman"
    ):
        Isaid(str(tmp_path))
