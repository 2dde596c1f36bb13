"""Episode sampling against a transcription of the protocol onto numpy's global generator."""

import random
from dataclasses import replace
from itertools import chain, islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsbench.data.dataset import PairList
from fsbench.data.episodes.episode import Episode
from fsbench.protocols.draws.bam_gfss import bam_gfss_episodes
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.draws.fscs import augment, size_pool
from fsbench.protocols.draws.hsnet import draw_episode
from fsbench.protocols.draws.incontext import episodes_of_objects, episodes_of_parts
from fsbench.protocols.draws.large_objects import fssdino_episodes
from fsbench.protocols.draws.pools import Pool, TooFewImages
from fsbench.protocols.draws.vrp import training_epoch


def plain_episode(index, pairs, images_of, class_ids, rule, way, shot, empty):
    """fscs-protocol §3, word for word, with `numpy.random` seeded globally (as the official programs do)."""
    np.random.seed(index)
    if rule == "sequential":
        query, query_class = pairs[index % len(pairs)]
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
def test_episodes_equal_the_protocol_on_the_global_generator(pool, index, way, shot, empty):
    episode = draw_episode(index, np.random.RandomState(index), pool, way=way, shot=shot, background=empty)
    expected = plain_episode(
        index, pool.pairs, pool.images_of, list(pool.class_ids), pool.query_sampling, way, shot, empty
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


def test_partial_augmentation_uses_only_the_ways_of_the_episode():
    result = augment(episode_of((1, 2), (("s1",), ("s2",))), np.random.RandomState(5), None, class_pixels, 0.07)
    # s1 shows class 2 on 20 %: it becomes a shot of way 2; way 1 is padded with a copy of its only shot
    assert result.classes == (1, 2)
    assert result.supports == (("s1", "s1"), ("s2", "s1"))
    assert result.augmented


def test_full_augmentation_adds_ways_and_the_threshold_is_strict():
    result = augment(episode_of((1, 2), (("s1",), ("s2",))), np.random.RandomState(5), [1, 2, 3], class_pixels, 0.07)
    assert result.classes == (1, 2, 3)
    assert result.supports[2] == ("s2", "s2")  # 8 % is above 7 %
    strict = augment(episode_of((2,), (("s3",),)), np.random.RandomState(5), [1, 2], class_pixels, 0.07)
    assert strict.supports == (("s3",),) and not strict.augmented  # exactly 7 % does not pass


def test_an_episode_without_additions_draws_nothing():
    rng = np.random.RandomState(3)
    before = rng.get_state()[1].copy()
    assert augment(episode_of((1,), (("s3",),)), rng, None, class_pixels, 0.07).augmented is False
    assert (rng.get_state()[1] == before).all()


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


def one_way_pool(rule, classes=3, images=7):
    """Every image shows its own class and the next one, if it is even."""
    shown = {}
    for n in range(classes * images):
        own, following = n % classes + 1, (n + 1) % classes + 1
        shown[f"i{n}"] = sorted({own, following}) if n % 2 == 0 else [own]
    pairs = PairList(tuple((name, number) for name in shown for number in shown[name]), "test")
    return Pool(pairs.pairs, pairs.images_of, list(range(1, classes + 1)), rule, shown.__getitem__)


@pytest.mark.parametrize("rule", ["sequential", "class_first"])
@pytest.mark.parametrize("shot", [1, 4])
def test_hsnet_episodes_follow_one_global_stream(rule, shot):
    """fss-protocol §5, word for word, with `numpy.random` seeded once (as the official program does)."""
    pool = one_way_pool(rule)
    found = list(islice(one_stream("of the data set", pool, shot=shot, seed=5), 60))
    np.random.seed(5)
    for index, episode in enumerate(found):
        if rule == "sequential":
            query, number = pool.pairs[index % len(pool.pairs)]
        else:
            number = np.random.choice(pool.class_ids, 1, replace=False)[0]
            query = np.random.choice(pool.images_of[number], 1, replace=False)[0]
        supports = []
        while len(supports) < shot:
            name = np.random.choice(pool.images_of[number], 1, replace=False)[0]
            if name != query:
                supports.append(name)
        assert episode == Episode(index, query, number, (number,), (tuple(supports),))
    repeated = [e for e in found if len(set(e.supports[0])) < shot]
    assert bool(repeated) == (shot > 1)


class OfficialLoader(torch.utils.data.Dataset):
    """hmnet.md §11.2, word for word, on Python's global generator in loader processes."""

    def __init__(self, pool, shot):
        self.pool, self.shot = pool, shot

    def __len__(self):
        return len(self.pool.images)

    def __getitem__(self, i):
        query = self.pool.images[i]
        labels = self.pool.classes_of(query)
        number = labels[random.randint(1, len(labels)) - 1]
        names, used, supports = self.pool.images_of[number], [], []
        for _ in range(self.shot):
            drawn = random.randint(1, len(names)) - 1
            name = query
            while name == query or drawn in used:
                drawn = random.randint(1, len(names)) - 1
                name = names[drawn]
            used.append(drawn)
            supports.append(name)
        return query, number, tuple(supports[::-1])


def test_pfenet_episodes_are_those_of_real_loader_processes():
    pool, shot, streams = one_way_pool("image_first"), 3, 2
    torch.manual_seed(321)
    loader = torch.utils.data.DataLoader(
        OfficialLoader(pool, shot), num_workers=streams, collate_fn=lambda items: items[0]
    )
    official = [item for _ in range(2) for item in loader]
    found = list(islice(one_stream("image then class", pool, shot=shot, seed=321, workers=streams), len(official)))
    assert [(e.query, e.query_class, e.supports[0]) for e in found] == official
    assert [e.index for e in found] == list(range(2 * len(pool.images)))
    assert all(len(set(e.supports[0])) == shot and e.query not in e.supports[0] for e in found)


TWO = Pool([("a", 1), ("b", 1), ("a", 2)], {1: ("a", "b"), 2: ("a",)}, [1, 2], "sequential", lambda name: [1])
ONE = Pool([("a", 1)], {1: ("a",)}, [1], "sequential")
SHUFFLED = "list of pairs, shuffled when through"
BY_TURNS = replace(ONE, query_sampling="by_turns")


def draw_fscs(index, shot):
    yield draw_episode(index, np.random.RandomState(index), TWO, way=1, shot=shot, background=False)


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (draw_fscs(0, 2), "class 1 has 1 usable support images, 2 are needed"),
        (draw_fscs(2, 1), "class 2 has 0"),
        (one_stream("image then class", TWO, shot=2, workers=1), "class 1 has 1 usable support images, 2 are needed"),
        (one_stream("list of pairs", ONE, shot=1), "class 1 has 0 usable support images, 1 are needed"),
        (one_stream(SHUFFLED, ONE, shot=3), "class 1 has 0 usable support images, 3 are needed"),
        (bam_gfss_episodes(PairList((("b", 2), ("c", 2)), ""), [1], [2], shot=2, seed=0, streams=1),
         "class 2 has 1 usable support images, 2 are needed"),
        (fssdino_episodes({1: ["a"] * 2, 2: ["b"] * 2}, way=1, shot=2), "are needed"),
        (fssdino_episodes({1: ["a"], 2: ["b"]}, way=2, shot=2), "are needed"),
        (one_stream("class cycle", BY_TURNS, shot=1), "class 1 has 0 usable support images"),
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
