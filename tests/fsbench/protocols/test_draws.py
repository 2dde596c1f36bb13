"""Episode sampling against a transcription of the protocol onto numpy's global generator."""

from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsbench.data.dataset import PairList
from fsbench.data.episodes.episode import Episode
from fsbench.protocols.draws.bam_gfss import bam_gfss_episodes
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.draws.fscs import augment, size_pool
from fsbench.protocols.draws.incontext import episodes_of_objects, episodes_of_parts
from fsbench.protocols.draws.large_objects import fssdino_episodes
from fsbench.protocols.episode_rules.hsnet import draw_episode
from fsbench.protocols.episode_rules.pools import Pool, TooFewImages
from fsbench.protocols.episode_rules.vrp import training_epoch


def plain_episode(episode_number, pairs, images_of, class_ids, rule, way, shot, empty):
    """fscs-protocol §3, word for word, with `numpy.random` seeded globally (as the official programs do)."""
    np.random.seed(episode_number)
    if rule == "sequential":
        query, query_class = pairs[episode_number % len(pairs)]
    else:
        query_class = np.random.choice(class_ids, 1, replace=False)[0]
        query = np.random.choice(images_of[query_class], 1, replace=False)[0]
    if empty:
        p = np.ones(len(class_ids)) / 2.0 / (len(class_ids) - 1)
        p[class_ids.index(query_class)] = 0.5
        classes = np.random.choice(class_ids, way, p=p, replace=False).tolist()
    else:
        classes = [query_class]
        if way > 1:
            others = [c for c in class_ids if c != query_class]
            classes += np.random.choice(others, way - 1, replace=False).tolist()
    supports = []
    for number in classes:
        names = []
        while True:
            name = np.random.choice(images_of[number], 1, replace=False)[0]
            if name != query and name not in names:
                names.append(name)
            if len(names) == shot:
                break
        supports.append(tuple(names))
    return query, query_class, tuple(classes), tuple(supports)


@st.composite
def pools(draw):
    classes = sorted(draw(st.sets(st.integers(1, 30), min_size=2, max_size=6)))
    names = [f"im{i}" for i in range(draw(st.integers(8, 20)))]
    images_of = {
        number: draw(st.lists(st.sampled_from(names), min_size=6, max_size=len(names), unique=True))
        for number in classes
    }
    pairs = [(name, number) for number, listed in images_of.items() for name in listed]
    return Pool(pairs, images_of, classes, draw(st.sampled_from(["sequential", "class_first"])))


@given(pools(), st.integers(0, 999), st.integers(1, 2), st.integers(1, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_episodes_equal_the_protocol_on_the_global_generator(pool, episode_number, way, shot, empty):
    episode = draw_episode(
        episode_number, np.random.RandomState(episode_number), pool, way=way, shot=shot, background=empty
    )
    expected = plain_episode(
        episode_number, pool.pairs, pool.images_of, list(pool.class_ids), pool.query_sampling, way, shot, empty
    )
    assert (episode.query, episode.query_class, episode.classes, episode.supports) == expected
    assert len(set(episode.classes)) == way
    for number, names in zip(episode.classes, episode.supports, strict=True):
        assert len(set(names)) == shot and episode.query not in names
        assert set(names) <= set(pool.images_of[number])


PIXELS = {"s1": {0: 50, 1: 30, 2: 20}, "s2": {0: 20, 2: 40, 3: 8, 255: 32}, "s3": {0: 93, 1: 7}}


def class_pixels(name):
    return PIXELS[name], sum(PIXELS[name].values())


def episode_of(classes, supports):
    return Episode(5, "q", classes[0], classes, supports)


def test_full_augmentation_adds_ways_and_the_threshold_is_strict():
    result = augment(episode_of((1, 2), (("s1",), ("s2",))), np.random.RandomState(5), [1, 2, 3], class_pixels, 0.07)
    assert result.classes == (1, 2, 3)
    assert result.supports[2] == ("s2", "s2")  # 8 % is above 7 %
    strict = augment(episode_of((2,), (("s3",),)), np.random.RandomState(5), [1, 2], class_pixels, 0.07)
    assert strict.supports == (("s3",),) and not strict.augmented  # exactly 7 % does not pass


def test_size_pool_follows_the_data_set():
    pairs = PairList((("a", 4), ("b", 2), ("c", 4), ("d", 7)), "test")
    listed = size_pool(pairs, "sequential", way=1, shot=1)
    assert listed.class_ids == [4, 2, 7] and sorted(listed.pairs) == sorted(pairs.pairs)
    expected = [("a", 4), ("c", 4), ("b", 2), ("d", 7)]
    np.random.RandomState(0).shuffle(expected)
    assert listed.pairs == expected
    two_ways = size_pool(pairs, "sequential", way=2, shot=1)
    assert two_ways.class_ids == [4, 2, 7] and {number for _, number in two_ways.pairs} == {4}
    drawn = size_pool(pairs, "class_first", way=1, shot=1)
    assert drawn.class_ids == [4] and drawn.query_sampling == "sequential"


TWO = Pool([("a", 1), ("b", 1), ("a", 2)], {1: ("a", "b"), 2: ("a",)}, [1, 2], "sequential", lambda name: [1])
ONE = Pool([("a", 1)], {1: ("a",)}, [1], "sequential")


def draw_fscs(episode_number, shot):
    yield draw_episode(episode_number, np.random.RandomState(episode_number), TWO, way=1, shot=shot, background=False)


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (draw_fscs(0, 2), "class 1 has 1 usable support images, 2 are needed"),
        (draw_fscs(2, 1), "class 2 has 0"),
        (one_stream("image then class", TWO, shot=2, workers=1), "class 1 has 1 usable support images, 2 are needed"),
        (bam_gfss_episodes(PairList((("b", 2), ("c", 2)), ""), [1], [2], shot=2, seed=0, streams=1),
         "class 2 has 1 usable support images, 2 are needed"),
        (fssdino_episodes({1: ["a"] * 2, 2: ["b"] * 2}, way=1, shot=2), "are needed"),
        (fssdino_episodes({1: ["a"], 2: ["b"]}, way=2, shot=2), "are needed"),
        (episodes_of_objects({1: ["a"]}, lambda photo, number: ["a1", "a2"], bool, shot=1),
         "class 1 has 0 usable support images"),
        (episodes_of_parts({1: list("abcd")}, lambda name, number: [name] if name < "d" else [], shot=3),
         "class 1 has 3 usable support images, 4 are needed"),
        (chain.from_iterable(training_epoch(ONE, epoch) for epoch in (0,)), "are needed"),
    ],
)  # fmt: skip
def test_a_class_with_too_few_images_is_an_error_and_no_endless_loop(drawn, message):
    with pytest.raises(TooFewImages, match=message):
        list(islice(drawn, 9))


def test_hsnet_repeats_supports_of_a_class_with_few_images():
    assert next(one_stream("list of pairs", TWO, shot=5)).supports == (("b",) * 5,)
