"""All classes of COCO in one test: the joined lists, and the episodes of fold -1 as a program would draw them."""

import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.task import EpisodeTask
from fsbench.datamodules.datasets.coco import CocoAll
from fsbench.datamodules.datasets.coco.dataset import CLASS_NAMES, Coco
from fsbench.datamodules.lists.official import read_official
from fsbench.protocols.draws.pair_lists import pair_list
from fsbench.protocols.reading import load_protocol
from tests.data_modules import episodic
from tests.datamodules.builders import save_coco

PHOTO = "COCO_val2014_{:012d}.jpg".format
OBJECT = [5, 5, 75, 5, 75, 55, 5, 55]


def plain_episodes(images_of: dict[int, list[str]], shot: int, count: int) -> list[tuple[int, list[str]]]:
    """Fold -1 of incontext-protocol §3.1 with NumPy's global functions: class, query, supports other than it."""
    state = np.random.get_state()
    np.random.seed(0)
    drawn = []
    for _ in range(count):
        c = np.random.choice(sorted(images_of), 1, replace=False)[0]
        query = np.random.choice(images_of[c], 1, replace=False)[0]
        names = [query]
        while len(names) <= shot:
            name = np.random.choice(images_of[c], 1, replace=False)[0]
            if name != query:
                names.append(name)
        drawn.append((int(c) + 1, [str(name) for name in names]))
    np.random.set_state(state)
    return drawn


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three photos of each of the first nine classes, with lists of four folds."""
    photos = {PHOTO(n): (60, 80, [{"class": n % 9 + 1, "segmentation": [OBJECT]}]) for n in range(27)}
    save_coco(tmp_path, "val2014", photos)
    folder = tmp_path / "lists/coco/val"
    folder.mkdir(parents=True)
    for fold in range(4):
        lists = {c: [] for c in range(80)}
        for n in reversed(range(27)):
            if n % 9 % 4 == fold:
                lists[n % 9].append(f"val2014/{PHOTO(n)}")
        (folder / f"fold{fold}.pkl").write_bytes(pickle.dumps(lists))
    return tmp_path


def test_the_lists_of_four_folds_are_one(root: Path) -> None:
    index = CocoAll(str(root), allow_unverified_lists=True)
    pairs = pair_list(index, "val", 0)
    own = Coco(str(root), allow_unverified_lists=True)
    for fold in range(4):
        joined = [pair for pair in pairs.pairs if pair[1] in own.test_classes(fold)]
        assert joined == list(pair_list(own, "val", fold).pairs)
    assert [number for _, number in pairs.pairs] == sorted([*range(1, 10)] * 3)
    assert pairs.origin == "official, unverified"
    assert index.test_classes(0) == [*range(1, 81)] and index.train_classes(0) == []
    assert load_protocol("gfss").draw.data(index) is index and type(load_protocol("gfss").draw.data(own)) is not Coco
    derived = pair_list(CocoAll(str(root), lists=[]), "val", 0)
    assert sorted(derived.pairs) == sorted(pairs.pairs) and derived.origin == "derived"
    with pytest.raises(DataError, match=r"list .*fold0.pkl was altered"):
        pair_list(CocoAll(str(root)), "val", 0)


def test_a_class_has_the_images_of_the_first_list_that_names_some(root: Path) -> None:
    path = root / "lists/coco/val/fold3.pkl"
    lists = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(lists | {0: [f"val2014/{PHOTO(5)}"], 30: [f"val2014/{PHOTO(6)}"]}))
    images_of = pair_list(CocoAll(str(root), allow_unverified_lists=True), "val", 0).images_of
    assert [*images_of[1]] == [f"val2014/{PHOTO(n)}" for n in (18, 9, 0)]
    assert [*images_of[31]] == [f"val2014/{PHOTO(6)}"]


def test_official_episodes_are_those_of_the_rule(real_data: Path, tmp_path: Path, monkeypatch) -> None:
    """From the authors' lists, whose photos are not needed for drawing."""
    monkeypatch.setattr(CocoAll, "check_images", lambda *_: None)
    (tmp_path / "val2014").mkdir()
    save_coco(tmp_path, "val2014", {PHOTO(1): (60, 80, [])})
    index = CocoAll(str(tmp_path), lists=[str(real_data / "official-lists")])
    pairs = pair_list(index, "val", 0)
    assert pairs.origin == "official" and len(pairs.images_of) == 80
    lists = [read_official(index.lists, "coco", "val", fold) for fold in range(4)]
    assert len(pairs.pairs) == sum(len(part.pairs) for part in lists if part)
    images_of = {number - 1: list(names) for number, names in pairs.images_of.items()}
    for shot in (1, 5):
        manifest = load_protocol("incontext").manifest(index, EpisodeTask(0, shot=shot))
        assert len(manifest.episodes) == 1000 and manifest.header.folds == 1 and len(manifest.class_ids) == 80
        found = [(e.query_class, [e.query, *e.supports[0]]) for e in islice(manifest.episodes, 300)]
        assert found == plain_episodes(images_of, shot, 300)


def test_nothing_that_was_trained_on_coco_is_tested_on_its_own_classes(root: Path) -> None:
    index = CocoAll(str(root), allow_unverified_lists=True)
    data = episodic(index, "incontext", image_size=48, workers=0, episodes=4, drop_small_classes=True)
    trained = {"dataset": "coco", "fold": 2, "protocol": "fscs", "classes": ["bicycle"]}
    with pytest.raises(SettingsError, match="was trained on fold 2 of coco, whose base classes include bicycle"):
        data.check_unseen(trained, "the checkpoint x.ckpt")
    data.check_unseen(trained | {"dataset": "pascal"}, "the checkpoint x.ckpt")
    data.check_unseen(trained | {"classes": [CLASS_NAMES[79]]}, "the checkpoint x.ckpt")  # of which it has no image
    with pytest.raises(SettingsError, match="coco_all has its test part alone, as all classes are novel; found the"):
        _ = data.training_pool
