"""Tests that are composed of words, which may differ by data set."""

import re
from dataclasses import replace

import pytest

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import NOT_STATED
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_protocol

MINE = Listed()


def protocol(draw: Listed = MINE, **values: object) -> Protocol:
    """HSNet's test with a draw of these values."""
    return replace(load_protocol("hsnet"), name="mine", draw=replace(draw, **values))


TASK = Task(0, shot=2, episodes=30, drop_small=True)
BY_IMAGE = replace(MINE, image_lists="bam", min_object="2048 query+support", episode_draw="image then class")


@pytest.mark.parametrize(
    ("dataset", "draw"),
    [
        ("pascal", "list of pairs"), ("coco", "class then image"), ("isic", "class cycle"),
        ("fss1000", "list of images"), ("isaid", "list of pairs"),
    ],
)  # fmt: skip
def test_the_draw_of_the_data_set_is_the_word_that_it_has(dataset, draw, datasets):
    data = datasets(dataset)
    of_dataset, named, by_dataset = (
        protocol(min_object="none", episode_draw=word).manifest(data, TASK)
        for word in ("of the data set", draw, {"others": "of the data set", dataset: draw})
    )
    assert of_dataset == named == by_dataset
    assert named.episodes == load_protocol("hsnet").manifest(data, TASK).episodes


def test_processes_by_data_set_draw_and_are_named_in_the_header(datasets):
    by_dataset, many, few = (
        protocol(BY_IMAGE, seed=321, depends_on="workers", workers=workers)
        for workers in ({"others": 8, "coco": 3}, 3, 8)
    )
    for dataset, same, other in (("coco", many, few), ("pascal", few, many)):
        data = datasets(dataset)
        manifest = by_dataset.manifest(data, TASK)
        assert manifest == same.manifest(data, TASK) != other.manifest(data, TASK)
        assert manifest.entries["drawn_by"] == {"workers": same.draw.workers}
    assert "here: workers 8, 3 on coco" in " ".join(by_dataset.rule_notes(manifest.header, {}))
    silent = replace(by_dataset, draw=replace(by_dataset.draw, states_streams=False))
    assert silent.manifest(data, TASK).episodes == manifest.episodes
    assert "drawn_by" not in silent.manifest(data, TASK).entries


def test_words_are_stated_where_programs_test_so():
    own = {"others": "hsnet", "isaid": "patches of 256"}
    stated = {"image_lists": own, "episode_draw": "list of pairs", "published_on": ("pascal", "isaid")}
    mine = protocol(**stated)
    mine.check()
    found = [mine.conditions(name)["image_lists"] for name in ("pascal", "isaid", "coco")]
    assert found == ["hsnet", "own", NOT_STATED]
    assert protocol(**stated | {"published_on": None}).conditions("coco")["image_lists"] == "hsnet"
    of_dataset = protocol(**stated | {"episode_draw": "of the data set"})
    assert of_dataset.conditions("pascal")["episode_draw"] == NOT_STATED


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_lists": {"coco": "hsnet"}}, "image_lists has coco, expected an entry 'others', too"),
        (
            {"image_lists": {"others": "hsnet", "coco": "hsnett"}},
            "image_lists is 'hsnett', for which there is no rule; did",
        ),
        (
            {"image_lists": {"others": "hsnet", "coco": "bam"}, "min_object": "2048 by the list"},
            "episode_draw 'list of pairs' goes through pairs, and image_lists 'bam' has images",
        ),
        (
            {"episode_draw": {"others": "list of pairs", "coco": "class then image, query last"}},
            "on coco images are listed, or supports repeat, otherwise than on other data sets",
        ),
        ({"one_late": True, "episodes": {"others": "all"}}, "one_late goes with numbers of episodes"),
        ({"workers": {"others": 0}}, "workers is {'others': 0}, expected 1 or more"),
        ({"workers": -1}, "workers is -1, expected 0 or more"),
    ],
)
def test_words_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        replace(MINE, **values).check()


def test_each_episode_by_itself_has_different_supports(datasets):
    test = protocol(seed=None, min_object="none", episode_draw="of the data set")
    manifest = test.manifest(datasets("pascal"), replace(TASK, shot=4))
    assert not test.draw.supports_repeat
    assert all(len(set(episode.supports[0])) == 4 for episode in manifest.episodes)
