"""The order of evaluation loses no episode and encodes few images twice."""

import itertools

import numpy as np

from fsbench.episodes.evaluation_order import evaluation_order, supports_of
from fsbench.episodes.pools import Pool
from fsbench.episodes.samplers import draw_episode


def episodes(images=120, count=360, shot=1):
    names = [f"i{n:03d}" for n in range(images)]
    classes = {number: names[number::5] for number in range(5)}
    pairs = [(name, number) for number, listed in classes.items() for name in listed]
    pool = Pool(pairs, classes, range(5), "sequential")
    return [draw_episode(i, np.random.RandomState(i), pool, way=1, shot=shot, background=True) for i in range(count)]


def encoded_twice(ordered):
    """Images that are needed as a support before they are encoded as a query."""
    queries, early, seen = {e.query for e in ordered}, set(), set()
    for e in ordered:
        seen.add(e.query)
        early |= (supports_of([e]) & queries) - seen
    return len(early)


def test_every_episode_once_and_those_of_a_query_together():
    ordered = evaluation_order(episodes())
    assert sorted(e.index for e in ordered) == list(range(360))
    changes = sum(a.query != b.query for a, b in itertools.pairwise(ordered))
    assert changes == len({e.query for e in ordered}) - 1


def test_few_images_are_encoded_twice():
    drawn = episodes()
    by_query = sorted(drawn, key=lambda e: (e.query, e.index))
    assert encoded_twice(evaluation_order(drawn)) < 0.5 * encoded_twice(by_query)


def test_the_order_is_reproducible():
    drawn = episodes(shot=3)
    assert evaluation_order(drawn) == evaluation_order(drawn[::-1])
