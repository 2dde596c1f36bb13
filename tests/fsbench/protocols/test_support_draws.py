"""Further draws of the supports: the official episodes stay, and the others follow from (seed, episode, draw) alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.manifest import read_manifest
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.imagefolder import ImageFolder
from fsbench.protocols.episode_rules.pools import lower_shots
from fsbench.protocols.reading import load_protocol, load_segmentation
from tests.data_modules import classification, episodic
from tests.drawn_files import draw_classification
from tests.fsbench.runs import some_header


@pytest.fixture
def dataset(blocks_folder):
    return Folder(str(blocks_folder))


@pytest.mark.parametrize("protocol, shot", [("fscs", 2), ("hsnet", 1), ("hsnet", 3), ("pfenet", 1)])
def test_draw_0_is_official_and_others_change_supports_alone(dataset, protocol, shot):
    test = load_segmentation(protocol)
    official = test.manifest(dataset, Task(0, shot=shot, episodes=30))
    manifest = test.manifest(dataset, Task(0, shot=shot, episodes=30, draws=4))
    assert manifest.official_episodes == official.episodes == manifest.episodes[:30]
    assert "draw" not in official.text and manifest.header.official_sha256 == official.sha256
    assert [episode.number for episode in manifest.episodes] == list(range(120))
    listed = test.draw.test_pool(dataset, Task(0, shot=shot))[1].images_of
    for number, episode in enumerate(manifest.episodes):
        first = official.episodes[number % 30]
        assert episode.draw == number // 30
        assert (episode.query, episode.query_class, episode.classes) == (first.query, first.query_class, first.classes)
        for of_class, names in zip(episode.classes, episode.supports, strict=True):
            assert len(names) == shot and episode.query not in names and set(names) <= set(listed[of_class])
            assert test.draw.supports_repeat or len(set(names)) == shot
    changed = [
        episode.supports != official.episodes[episode.number % 30].supports for episode in manifest.episodes[30:]
    ]
    assert np.mean(changed) > 0.5


def test_words_say_which_draw_is_number_0():
    test = load_segmentation("hsnet")
    official = some_header(lists="official, derived", seed=0, draws=4)
    assert test.draw.draw_zero(official) == "the official one"
    assert test.draw.draw_zero(official.model_copy(update={"shot": 5, "nested_in": 20})).startswith("the first 5 of 20")
    for other in ({"lists": "derived"}, {"seed": 7}):
        header = official.model_copy(update=other)
        assert test.draw.draw_zero(header).startswith("that of the test without further draws")
        assert test.draw.draw_zero(header) in test.rule_notes(header, {})[0]


def test_each_draw_of_an_episode_has_a_generator_of_its_own(dataset):
    """The first image, in an order drawn from (seed, episode, draw), that is not the query."""
    test = load_segmentation("hsnet")
    manifest = test.manifest(dataset, Task(0, episodes=20, draws=3))
    listed = test.draw.test_pool(dataset, Task(0))[1].images_of
    for episode in manifest.episodes[20:]:
        images = list(dict.fromkeys(listed[episode.query_class]))
        order = np.random.default_rng([0, episode.number % 20, episode.draw]).permutation(len(images))
        expected = next(images[place] for place in order if images[place] != episode.query)
        assert episode.supports == ((expected,),)


def test_a_manifest_with_draws_is_read_as_it_was_written(dataset, tmp_path):
    manifest = load_segmentation("fscs").manifest(dataset, Task(0, episodes=6, draws=3))
    manifest.write(tmp_path / "draws.jsonl")
    assert read_manifest(tmp_path / "draws.jsonl") == manifest
    rows = [json.loads(line) for line in manifest.text.splitlines()[1:]]
    assert [row.get("draw", 0) for row in rows] == [0] * 6 + [1] * 6 + [2] * 6
    data = episodic(dataset, manifest=str(tmp_path / "draws.jsonl"), episodes=6, draws=3, image_size=32)
    assert data.manifest == manifest
    with pytest.raises(SettingsError, match="has draws 3, the settings say 2"):
        _ = episodic(dataset, manifest=str(tmp_path / "draws.jsonl"), draws=2).manifest


def test_draws_make_another_run_and_one_draw_none(dataset):
    plain, drawn = (episodic(dataset, episodes=4, draws=draws) for draws in (1, 3))
    assert plain.test_options == {} and drawn.test_options == {"draws": 3}
    assert drawn.validation_manifest.header.draws == 1
    assert plain.test_words[:-1] == drawn.test_words[:-1] and drawn.test_words[-1].endswith("-3draws")


@pytest.mark.parametrize(
    "protocol, task, words",
    [
        ("fscs", Task(0, draws=2, setting="fully_augmented"), "other supports add other ways"),
        ("fscs", Task(0, draws=0), "draws is 0, expected 1 or more"),
        ("fscs", Task(0, draws=1 << 30, episodes=4), "expected fewer than"),
        ("fscs", Task(0, shot=2, nested_in=1), "nested_in is 1, expected the 2 shots of the test or more"),
        ("fscs", Task(0, nested_in=1000), r"1001 each are needed.*lower --data\.test\.nested_in, or leave"),
    ],
)
def test_draws_that_would_be_another_test_are_refused(dataset, protocol, task, words):
    with pytest.raises((SettingsError, DataError), match=words):
        load_protocol(protocol).manifest(dataset, task)


def test_classification_keeps_its_queries_and_its_draws_are_nested_in_shots(tmp_path):
    draw_classification(tmp_path, classes=3, images=8)
    data = ImageFolder(str(tmp_path))
    settings = {"way": 2, "queries": 3, "episodes": 5}
    official, drawn = (classification(data, shot=2, **settings, draws=draws).manifest for draws in (1, 3))
    assert drawn.official_episodes == official.episodes and len(drawn.episodes) == 15
    for episode in drawn.episodes:
        first = official.episodes[episode.number % 5]
        assert (episode.classes, episode.query) == (first.classes, first.query)
        assert all(
            not set(s) & set(q) and len(set(s)) == 2 for s, q in zip(episode.support, episode.query, strict=True)
        )
    most, one = (classification(data, shot=shot, **settings, draws=3, nested_in=4).manifest for shot in (4, 1))
    assert [e.support for e in one.episodes] == [tuple(way[:1] for way in e.support) for e in most.episodes]


@pytest.mark.parametrize("protocol", ["fscs", "hsnet"])
def test_every_draw_is_nested_in_shots(dataset, protocol):
    """Supports of `hsnet` may repeat, those of `fscs` may not."""
    test = load_segmentation(protocol)
    task = Task(0, episodes=10, draws=3, nested_in=4)
    most, *fewer = (test.manifest(dataset, replace(task, shot=shot)) for shot in (4, 1, 2))
    assert any(len(set(way)) < 4 for e in most.episodes[10:] for way in e.supports) == test.draw.supports_repeat
    for manifest in fewer:
        assert [(e.query, e.classes) for e in manifest.episodes] == [(e.query, e.classes) for e in most.episodes]
        cut = [tuple(way[: manifest.header.shot] for way in episode.supports) for episode in most.episodes]
        assert [episode.supports for episode in manifest.episodes] == cut
        official = test.manifest(dataset, replace(task, shot=manifest.header.shot, draws=1))
        assert manifest.header.official_sha256 == official.sha256
        assert manifest.official_episodes == official.episodes


def test_one_shot_is_never_told_to_be_lowered():
    assert lower_shots(5) == "lower --shot, " and lower_shots(1) == ""
