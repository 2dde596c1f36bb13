"""Whole folds: images are counted as they are encoded, and both ways of evaluating give the same counts."""

import json
import sys
from argparse import Namespace
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks.speed import evaluation
from benchmarks.speed.folds import official_fold
from benchmarks.speed.folds.encodings import encodings
from benchmarks.speed.folds.official_fold import OfficialFold
from datamodules.datasets.folder import Folder
from datamodules.episodic import EpisodicDataModule
from fsbench.backbones.base import BackboneConfig
from fsbench.episodes.evaluation_order import evaluation_order
from fsbench.tensor_cache import FeatureCache
from methods.prototype import Prototype
from tests.fsbench.episodes.test_evaluation_order import encoded_twice, episodes

LARGE = 10**9


def shown(listed):
    return [list(dict.fromkeys([e.query, *(name for way in e.supports for name in way)])) for e in listed]


@pytest.mark.parametrize("shot", [1, 3])
def test_images_are_counted_by_the_features_that_are_left(shot):
    listed = evaluation_order(episodes(images=40, count=60, shot=shot))
    distinct = {name for names in shown(listed) for name in names}
    one_kind, two_kinds = {"pyramid": 400}, {"query": 400, "support": 40}
    assert encodings(listed, one_kind, FeatureCache(LARGE))[0] == len(distinct)
    assert encodings(listed, two_kinds, FeatureCache(LARGE))[0] == len(distinct) + encoded_twice(listed)
    assert encodings(listed, one_kind, FeatureCache(0)) == (sum(map(len, shown(listed))), 0)


def test_the_most_that_is_kept_is_what_later_episodes_need():
    listed = evaluation_order(episodes(images=40, count=60, shot=2))
    names = shown(listed)
    needed = []
    for place in range(1, len(names)):
        earlier, later = ({n for some in part for n in some} for part in (names[:place], names[place:]))
        needed.append(len(earlier & later))
    cache = FeatureCache(LARGE)
    assert encodings(listed, {"pyramid": 400}, cache)[1] == 400 * max(needed)
    assert cache.bytes == 0
    every = len({name for some in names for name in some})
    assert encodings(listed, {"pyramid": 400}, FeatureCache(LARGE), foresight=False)[1] == 400 * every


def test_an_evaluation_encodes_the_images_that_are_counted(blocks_folder):
    """With room for 5 images: fewer than where what was used longest ago makes room."""
    data = EpisodicDataModule(Folder(str(blocks_folder)), image_size=48, shot=2, episodes=30, workers=0)
    method = Prototype(BackboneConfig("demo", "random:0")).eval()
    with torch.inference_mode():
        method.test_step(next(iter(data.test_dataloader())), 0)
        size = max(method.backbone.cache.entry_bytes().values())
        method.backbone.cache = FeatureCache(5 * size)
        encode, encoded = method.backbone.encode, []
        method.backbone.encode = lambda pixels: encoded.append(1) or encode(pixels)
        for batch in data.test_dataloader():
            method.test_step(batch, 0)
    listed = evaluation_order(data.manifest.episodes)
    counted = [encodings(listed, {"tokens": size}, FeatureCache(5 * size), told)[0] for told in (True, False)]
    assert len(encoded) == counted[0] < counted[1]


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """Lists in the authors' form: in each fold 15 images of five classes."""
    monkeypatch.setattr(official_fold, "read_official", partial(official_fold.read_official, allow_unverified=True))
    folder = tmp_path / "lists" / "pascal" / "val"
    folder.mkdir(parents=True)
    for fold in range(4):
        lines = "".join(f"2007_{n:06d}__{n % 5 + 1 + 5 * fold:02d}\n" for n in range(15))
        (folder / f"fold{fold}.txt").write_text(lines)
    return tmp_path / "lists"


def test_images_at_hand_are_taken_and_others_drawn_alike(lists, tmp_path):
    for folder in ("hand", "one", "two"):
        (tmp_path / folder).mkdir()
    one, two = (OfficialFold(str(lists), "pascal", 0, tmp_path / name, tmp_path / "hand") for name in ("one", "two"))
    assert one.label_map("2007_000001").shape == (375, 500)
    assert set(np.unique(one.label_map("2007_000006"))) == {0, 2}
    assert one.image_path("2007_000001").read_bytes() == two.image_path("2007_000001").read_bytes()
    assert one.image_path("2007_000001").read_bytes() != one.image_path("2007_000002").read_bytes()
    two.image_path("2007_000003").rename(tmp_path / "hand" / "2007_000004.jpg")
    assert one.is_at_hand("2007_000004") and one.image_path("2007_000004").parent.name == "hand"


@pytest.mark.parametrize("how", [[], ["--pairs", "2"], ["--heads", "reference"]], ids=str)
def test_both_ways_are_timed_and_compared(how, lists, tmp_path, monkeypatch, capsys):
    out = tmp_path / "folds.json"
    given = [str(lists), "--dataset", "pascal", "--shot", "2", "--method", "prototype", "--image-size", "28"]
    monkeypatch.setattr(
        sys, "argv", ["evaluation", *given, "--device", "cpu", "--write", str(out), "--episodes", "12", *how]
    )
    evaluation.main()
    (cells,) = json.loads(out.read_text())["tables"]["whole-folds"]["rows"]
    assert capsys.readouterr().out.endswith("  ".join(cells) + "\n")
    assert cells[:2] == ["pascal fold 0, 1-way 2-shot", "prototype"]  # which has no plain head of its own
    units = "units measured on pascal, 2 pairs, times the images of "
    assert cells[2] == f"28 px; {units * ('--pairs' in how)}12 episodes"
    listed = OfficialFold(str(lists), "pascal", 0).episodes("fscs", 1, 2)[:12]
    distinct = {name for names in shown(listed) for name in names}
    assert cells[3] == f"{12 * 2 * 2} -> {len(distinct)}"
    theirs, ours = map(float, cells[4].split(" -> "))
    assert theirs > 0 and ours > 0 and cells[5].endswith("x")


def test_a_row_names_the_data_set_that_its_units_are_of(lists):
    options = Namespace(heads="suite", backbone=None, image_size=28, episodes=12, pairs=3, cache_mib=1)
    parts = evaluation.Units("coco", image=2.0, rest=(5.0, 3.0), peak_mib=7.0, entry_bytes={"pyramid": 400})
    index = OfficialFold(str(lists), "pascal", 0)
    cells = evaluation.row(options, index, "prototype", 1, {("prototype", 1): parts})
    assert cells[2] == "28 px; units measured on coco, 3 pairs, times the images of 12 episodes"
    distinct = {name for names in shown(index.episodes("fscs", 1, 1)[:12]) for name in names}
    assert cells[3:5] == [f"24 -> {len(distinct)}", f"9.000 -> {3 + 2 * len(distinct) / 12:.3f}"]
