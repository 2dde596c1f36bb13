"""Episodes of the in-context protocol where goldens say nothing: empty boxes, classes that cannot be drawn, sizes."""

from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.task import ManifestTask, Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.kinds.views import ViewData
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.draws.incontext import (
    EpisodeRun,
    OwnEpisodes,
    episodes_of_objects,
    episodes_of_parts,
    every_tenth,
)
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.reading import load_protocol
from tests.data_modules import episodic

NAMES = [f"image{i}" for i in range(4)]
BY_TURNS = Pool((), {1: NAMES, 2: NAMES}, [1, 2], "by_turns")


def test_the_remainder_of_the_classes_belongs_to_no_fold():
    folds = [every_tenth(range(925), fold) for fold in range(10)]
    assert [len(fold) for fold in folds] == [92] * 10 and folds[3][:2] == [3, 13]
    assert sorted(number for fold in folds for number in fold) == list(range(920))


def plain_objects(photos_of, views_of, shot, count, empty=()):
    """The rule of §3.5 with NumPy's global functions, as a program would write it."""
    np.random.seed(0)
    drawn = []
    while len(drawn) < count:
        number = np.random.choice(list(photos_of), 1, replace=False)[0]
        entries = photos_of[number]
        query = entries[np.random.permutation(len(entries))[0]]
        views = [np.random.choice(views_of[query], 1, replace=False)[0]]
        while len(views) <= shot:
            entry = entries[np.random.permutation(len(entries))[0]]
            if entry != query:
                views.append(np.random.choice(views_of[entry], 1, replace=False)[0])
        if not set(views) & set(empty):
            drawn.append((int(number), [str(view) for view in views]))
    return drawn


def test_objects_with_an_empty_box_make_a_whole_new_episode():
    photos, views = {5: ["a", "b"], 9: ["c", "d"]}, {"a": ["a1", "a2"], "b": ["b1"], "c": ["c1"], "d": ["d1", "d2"]}

    def views_of(name, number):
        assert name in photos[number]
        return views[name]

    state = np.random.get_state()
    for empty in ((), ("a2", "d1")):
        found = islice(episodes_of_objects(photos, views_of, empty.__contains__, shot=2), 30)
        assert [(e.query_class, [e.query, *e.supports[0]]) for e in found] == plain_objects(photos, views, 2, 30, empty)
    np.random.set_state(state)
    with pytest.raises(DataError, match="1000 episodes in turn had an object's box without pixels"):
        next(episodes_of_objects(photos, views_of, bool, shot=1))


def test_photos_of_parts_never_repeat_within_an_episode():
    views = {"image0": ["image0@0", None], "image1": [None, "image1@1"], "image2": ["image2@0"], "image3": []}
    drawn = list(islice(episodes_of_parts({1: NAMES}, lambda name, number: views[name], shot=2), 50))
    assert all({e.query, *e.supports[0]} == {"image0@0", "image1@1", "image2@0"} for e in drawn)


class Views(ViewData):
    """Two classes of LVIS's rule."""

    name, folds, class_names = "views", 1, ("x", "y")

    def test_classes(self, fold):
        return [1, 2]

    def image_path(self, name):
        raise AssertionError("no image is opened")

    label_map = annotation_files = class_number = masks = photo_classes = class_views = image_path


@OwnEpisodes.register(Views)
class ViewEpisodes(OwnEpisodes):
    def run(self, fold, shot, seed):
        episodes = one_stream("class cycle", BY_TURNS, shot=shot, seed=seed)
        return EpisodeRun([1, 2][: 3 - shot], 7, episodes, "abc", "official, unverified")


@pytest.mark.parametrize(
    ("protocol", "task", "message"),
    [
        (
            "hsnet",
            Task(0),
            "views is tested with the protocol incontext, or presence where it has that, and has no lists of others",
        ),
        ("incontext", ManifestTask(0, classes="base"), "views has no base classes to validate on"),
        ("incontext", Task(0, shot=3), "views fold 0 has no class with more than 3 images; lower --shot"),
        ("incontext", Task(1), "unknown fold 1 for views"),
    ],
)
def test_what_the_data_set_has_not_is_refused_in_one_line(protocol, task, message):
    with pytest.raises((SettingsError, DataError)) as refused:
        load_protocol(protocol).manifest(Views("."), task)
    assert str(refused.value).startswith(message) and "\n" not in str(refused.value)
    with pytest.raises(SettingsError, match="validate on; found the part trn; choose the protocol incontext"):
        Views(".").candidates("trn")


def test_the_size_of_the_evaluation_is_the_protocols_and_not_the_methods(blocks_folder):
    """§2: masks by nearest to S x S from their own size, whatever side the images have; supports at the latter."""
    dataset = Folder(str(blocks_folder))
    data = episodic(dataset, "incontext518", image_size=48, workers=0, episodes=4)
    for batch in data.test_dataloader():
        name = batch.image_names[int(batch.query[0])]
        labels = torch.from_numpy(dataset.label_map(name)).float()[None, None]
        resized = F.interpolate(labels, (518, 518), mode="nearest")[0, 0]
        truth = batch.known_truth()
        number = int(truth.classes[0, 0])
        expected = (resized == number).to(torch.uint8)
        expected[resized == 255] = 255
        assert torch.equal(truth.label_maps[0], expected) and batch.query_sizes.tolist() == [[518, 518]]
        assert batch.images.shape[-1] == 48 == batch.support_labels.shape[-1]
    training = episodic(dataset, "incontext518", image_size=48, workers=0, batch_size=2, drop_small=True)
    assert next(iter(training.train_dataloader())).query_sizes.tolist() == [[48, 48]] * 2
