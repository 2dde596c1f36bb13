"""The order of evaluation loses no episode and encodes few images twice."""

import itertools

import numpy as np
import pytest

from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.evaluation_order import BLOCK, SERVED, evaluation_order, next_uses, supports_of
from fsbench.protocols.episode_rules.hsnet import draw_episode
from fsbench.protocols.episode_rules.pools import Pool


def episodes(images=120, count=360, shot=1, way=1):
    names = [f"i{n:03d}" for n in range(images)]
    classes = {number: names[number::5] for number in range(5)}
    pairs = [(name, number) for number, listed in classes.items() for name in listed]
    pool = Pool(pairs, classes, range(5), "sequential")
    return [draw_episode(i, np.random.RandomState(i), pool, way=way, shot=shot, background=True) for i in range(count)]


def encoded_twice(ordered):
    """Images that are needed as a support before they are encoded as a query."""
    queries, early, seen = {e.query for e in ordered}, set(), set()
    for e in ordered:
        seen.add(e.query)
        early |= (supports_of([e]) & queries) - seen
    return len(early)


def test_every_episode_once_and_those_of_a_query_together():
    ordered = evaluation_order(episodes())
    assert sorted(e.number for e in ordered) == list(range(360))
    changes = sum(a.query != b.query for a, b in itertools.pairwise(ordered))
    assert changes == len({e.query for e in ordered}) - 1


def test_few_images_are_encoded_twice():
    drawn = episodes()
    by_query = sorted(drawn, key=lambda e: (e.query, e.number))
    assert encoded_twice(evaluation_order(drawn)) < 0.5 * encoded_twice(by_query)


@pytest.mark.parametrize("way", [1, 2])
def test_with_several_shots_those_of_equal_classes_stand_together(way):
    ordered = evaluation_order(episodes(shot=3, way=way))
    assert sorted(e.number for e in ordered) == list(range(360))
    classes = [frozenset(e.classes) for e in ordered]
    changes = sum(a != b for a, b in itertools.pairwise(classes))
    assert changes == len(set(classes)) - 1 == (4 if way == 1 else 9)
    pairs = [(e.query, frozenset(e.classes)) for e in ordered]
    assert sum(a != b for a, b in itertools.pairwise(pairs)) == len(set(pairs)) - 1


@pytest.mark.parametrize(("images", "together"), [(2000, True), (120, False)])
def test_where_images_come_seldom_those_of_a_class_stand_together(images, together):
    classes = [e.classes for e in evaluation_order(episodes(images=images))]
    assert (sum(a != b for a, b in itertools.pairwise(classes)) == len(set(classes)) - 1) is together


def test_where_many_queries_have_the_same_supports_these_stand_together():
    """Five runs of 80 queries each, as under gfss: blocks of queries go through all runs."""
    sets = [(((), (f"a{run}",), (f"b{run}",))) for run in range(5)]
    names = [f"q{number:02d}" for number in range(80)]
    listed = [(run, name) for run in range(5) for name in names]
    drawn = [Episode(i, name, 1, (1, 2, 3), sets[run]) for i, (run, name) in enumerate(listed)]
    ordered = evaluation_order(drawn[::-1])
    assert sorted(e.number for e in ordered) == list(range(400))
    blocks = [[e.query for e in ordered if e.supports == some] for some in sets]
    assert blocks == [names] * 5
    changes = sum(a.supports != b.supports for a, b in itertools.pairwise(ordered))
    assert changes == 3 * 5 - 1  # 80 queries are three blocks
    assert {e.query for e in ordered[: 5 * BLOCK]} == set(names[:BLOCK])


def test_several_draws_of_few_supports_leave_each_query_together():
    """A support serves 6 of 1020 episodes, and fewer than 2 of a block."""
    drawn = episodes(images=170, count=1020)
    assert len(drawn) > SERVED * len({e.supports for e in drawn})
    ordered = evaluation_order(drawn)
    assert sorted(e.number for e in ordered) == list(range(1020))
    assert sum(a.query != b.query for a, b in itertools.pairwise(ordered)) == len({e.query for e in ordered}) - 1


@pytest.mark.parametrize("shot", [1, 3])
def test_an_images_uses_follow_each_other_and_its_last_is_followed_by_none(shot):
    ordered = evaluation_order(episodes(shot=shot))
    uses = next_uses(ordered)
    names = [{e.query, *supports_of([e])} for e in ordered]
    assert [set(some) for some in uses] == names
    for place, some in enumerate(uses):
        for name, later in some.items():
            assert later == next((i for i in range(place + 1, len(names)) if name in names[i]), None)


def test_the_order_is_reproducible():
    drawn = episodes(shot=3)
    assert evaluation_order(drawn) == evaluation_order(drawn[::-1])
