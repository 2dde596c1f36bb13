"""Whole folds: images are counted as they are encoded, and both ways of evaluating give the same counts."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks.speed import __main__ as speed
from benchmarks.speed import official_fold
from benchmarks.speed.cases.folds import count_encodings
from benchmarks.speed.harness import Measurements
from benchmarks.speed.official_fold import OfficialFold
from fsbench.base.tensor_cache import FeatureCache
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.evaluation_order import evaluation_order
from fsbench.datamodules.datasets.folder import Folder
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig
from tests.data_modules import episodic
from tests.fsbench.data.episodes.test_evaluation_order import encoded_twice, episodes

LARGE = 10**9


def shown(listed):
    return [list(dict.fromkeys([e.query, *(name for way in e.supports for name in way)])) for e in listed]


@pytest.mark.parametrize("shot", [1, 3])
def test_images_are_counted_by_the_features_that_are_left(shot):
    listed = evaluation_order(episodes(images=40, count=60, shot=shot))
    distinct = {name for names in shown(listed) for name in names}
    one_kind, two_kinds = {"pyramid": 400}, {"query": 400, "support": 40}
    assert count_encodings(listed, one_kind, LARGE) == len(distinct)
    assert count_encodings(listed, two_kinds, LARGE) == len(distinct) + encoded_twice(listed)
    assert count_encodings(listed, one_kind, 0) == sum(map(len, shown(listed)))
    few = 5 * one_kind["pyramid"]
    assert count_encodings(listed, one_kind, few) < count_encodings(listed, one_kind, few, expects=False)


@pytest.mark.parametrize(
    ("sizes", "room", "count"),
    [
        ({"features": 400}, 1, 7),  # a b, c b, d b, a
        ({"features": 400, "states": 1}, 1, 6),  # a b, c, d, b a: the support b is known by its state
        ({"encodings": 400, "states": 1}, 2, 5),  # a b, c, d, a
        ({"features": 400, "position projector": 9}, 2, 5),
        ({"features": 400, "objects": 400}, 9, 6),  # a and b with and without their background
    ],
    ids=str,
)
def test_images_are_counted_by_the_kinds_that_are_kept(sizes, room, count):
    listed = [Episode(n, query, 1, (1,), ((shot,),)) for n, (query, shot) in enumerate(["ab", "cb", "db", "ba"])]
    assert count_encodings(listed, sizes, room * 400 + 40) == count


@pytest.mark.slow(1)
def test_an_evaluation_encodes_the_images_that_are_counted(blocks_folder):
    """With room for 5 images."""
    data = episodic(Folder(str(blocks_folder)), image_size=48, shot=2, episodes=30, workers=0)
    method = Prototype(BackboneConfig("demo", "random:0")).eval()
    with torch.inference_mode():
        method.answer_batch(next(iter(data.test_dataloader())))
        size = max(method.backbone.cache.entry_bytes().values())
        method.backbone.cache = FeatureCache(5 * size)
        encode, encoded = method.backbone.encode, []
        method.backbone.encode = lambda pixels: encoded.append(1) or encode(pixels)
        for batch in data.test_dataloader():
            method.answer_batch(batch)
    listed = evaluation_order(data.manifest.episodes)
    distinct = {name for names in shown(listed) for name in names}
    assert len(distinct) < len(encoded) == count_encodings(listed, {"tokens": size}, 5 * size)


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


def test_images_are_drawn_alike_under_the_names_of_the_lists(lists, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    one, two = (OfficialFold(str(lists), "pascal", 0, tmp_path / name) for name in ("one", "two"))
    assert one.label_map("2007_000001").shape == (375, 500)
    assert set(np.unique(one.label_map("2007_000006"))) == {0, 2}
    assert one.image_path("2007_000001").read_bytes() == two.image_path("2007_000001").read_bytes()
    assert one.image_path("2007_000001").read_bytes() != one.image_path("2007_000002").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prototype", "emat"])
def test_both_ways_are_timed_on_the_first_episodes_of_a_fold(method, lists, tmp_path, capsys):
    words = f"folds --lists {lists} --methods {method} --shots 2 --size 28 --episodes 10 --repeats 2"
    speed.main([*words.split(), "--device", "cpu", "--json", str(tmp_path / "folds.json")])
    found = Measurements(**json.loads((tmp_path / "folds.json").read_text()))
    assert [(row.path, len(row.times)) for row in found.rows] == [("authors' scheme", 2), ("suite", 2)]
    listed = OfficialFold(str(lists), "pascal", 0).episodes("hsnet", 1, 2)
    distinct = {name for names in shown(listed) for name in names}
    encoded = len(distinct) + (encoded_twice(evaluation_order(listed)) if method == "emat" else 0)
    assert found.rows[0].what == (
        f"{method}, pascal fold 0, 1-way 2-shot, 28 pixels, an episode; of the whole fold {4 * 1000} -> {encoded} "
        f"images encoded, by last use alone {encoded}"
    )
    assert all(row.seconds > 0 for row in found.rows)
    assert "differs by 0.0e+00" in capsys.readouterr().out


@pytest.mark.slow(3)
def test_what_the_ways_need_is_said(lists, monkeypatch):
    monkeypatch.delenv("FSBENCH_TEST_DATA", raising=False)
    with pytest.raises(SystemExit, match=r"give --lists, a folder of official lists .*, or set FSBENCH_TEST_DATA"):
        speed.main(["folds", "--device", "cpu"])
    few = f"folds --lists {lists} --methods prototype --size 28 --episodes 3 --device cpu"
    with pytest.raises(SystemExit, match="3 episodes are too few; expected 5 for every turn: give --episodes"):
        speed.main(few.split())
