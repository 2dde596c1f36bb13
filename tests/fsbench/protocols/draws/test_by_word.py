"""Draws against plain programs, and what holds for all of them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from fsbench.base.errors import DataError
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import EPISODE_DRAW, OF_DATASET
from fsbench.protocols.draws.gfss import fixed_supports, queries_by_novel_class
from fsbench.protocols.episode_rules.pools import Pool, TooFewImages
from fsbench.protocols.episode_rules.rules import DrawRule, EpisodeSource
from fsbench.protocols.episode_rules.streams import Streams
from fsbench.protocols.reading import load_protocol
from tests.fsbench.protocols.drawn_sets import pascal_with_novel_training

NAMES = [f"image{i:02d}" for i in range(12)]
IMAGES_OF: Mapping[int, Sequence[str]] = {1: NAMES[:6], 2: NAMES[4:10], 3: NAMES[7:]}
PAIRS = [(name, number) for name in NAMES for number, images in IMAGES_OF.items() if name in images]
NOTHING_IS_DRAWN = "next of the list"
RULES = {
    one.word: one.part for one in EPISODE_DRAW.values
    if isinstance(one.part, DrawRule) and one != OF_DATASET and one.word != NOTHING_IS_DRAWN
}  # fmt: skip
OWN_SUPPORT = "image then class, query allowed as support"


def source(draw: str, shot: int = 2, streams: Streams | None = None, **more: object) -> EpisodeSource:
    shown = {name: [number for number, images in IMAGES_OF.items() if name in images] for name in NAMES}
    pool = Pool(PAIRS, IMAGES_OF, [1, 2, 3], RULES[draw].rule, shown.__getitem__)  # type: ignore[arg-type]
    return EpisodeSource(pool, streams or Streams(5), asked=24, shot=shot, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("word", RULES)
def test_supports_show_the_class_and_are_no_queries(word):
    rule = RULES[word]
    episodes = list(islice(rule.episodes(source(word)), 24))
    assert [episode.number for episode in episodes] == list(range(24))
    own = 0
    for episode in episodes:
        (supports,) = episode.supports
        assert episode.query in IMAGES_OF[episode.query_class] and episode.classes == (episode.query_class,)
        assert len(supports) == 2 and set(supports) <= set(IMAGES_OF[episode.query_class])
        assert rule.supports_repeat or len(set(supports)) == 2
        own += episode.query in supports
    assert (own > 0) == (word == OWN_SUPPORT)
    again = list(islice(rule.episodes(source(word)), 24))
    other = list(islice(rule.episodes(source(word, streams=Streams(6))), 24))
    assert episodes == again and [e.supports for e in episodes] != [e.supports for e in other]
    assert {e.query_class for e in episodes} == {1, 2, 3}


@pytest.mark.parametrize("word", [word for word in RULES if word != OWN_SUPPORT])
def test_a_class_of_one_image_ends_the_draw(word):
    short = source(word, shot=1)
    short = replace(short, pool=replace(short.pool, pairs=[("image00", 1)], images_of={1: ["image00"]}, class_ids=[1]))
    with pytest.raises(TooFewImages, match="class 1 has"):
        list(islice(RULES[word].episodes(short), 1))


def test_two_shuffled_copies():
    """Queries of all passes are fixed before the first support is drawn."""
    rng = random.Random(5)
    queries = list(PAIRS)
    for _ in range(2):
        copy = PAIRS[:]
        rng.shuffle(copy)
        queries += copy
    expected = []
    for query, number in queries[:30]:
        images = IMAGES_OF[number]
        drawn = images[rng.randint(0, len(images) - 1)]
        while drawn == query:
            drawn = images[rng.randint(0, len(images) - 1)]
        expected.append((query, number, (drawn,)))
    word = "list of pairs, two shuffled copies appended"
    found = islice(RULES[word].episodes(source(word, shot=1)), 30)
    assert [(e.query, e.query_class, e.supports[0]) for e in found] == expected


def test_class_then_images_of_numpy():
    """PMMs on COCO: K + 1 images at once, of which the first is the query."""
    word = "class then image, query first"
    np_random = np.random.RandomState(5)
    for episode in islice(RULES[word].episodes(source(word)), 20):
        number = np_random.choice([1, 2, 3])
        query, *supports = np.array(IMAGES_OF[number])[np_random.choice(len(IMAGES_OF[number]), 3, replace=False)]
        assert (episode.query_class, episode.query, episode.supports[0]) == (number, query, tuple(supports))


def test_small_supports_are_drawn_again_and_stay():
    word, small = "random image then class", NAMES[4]
    drawn = source(word, shot=3, may_support=lambda name, number: name != small)
    episodes = list(islice(RULES[word].episodes(drawn), 200))
    assert small in {e.query for e in episodes} and all(small not in e.supports[0] for e in episodes)
    few = source(word, may_support=lambda name, number: name == small)
    with pytest.raises(TooFewImages, match=r"has [01] usable support images, 2 are needed"):
        list(islice(RULES[word].episodes(few), 1))


def test_processes_of_a_class_first_test_draw_the_same():
    word = "class then image"
    alone, shared = (list(islice(RULES[word].episodes(source(word, gpus=gpus)), 8)) for gpus in (1, 4))
    assert [e.query for e in shared] == [alone[0].query] * 4 + [alone[1].query] * 4


def test_fixed_supports_are_alone_and_large():
    shown = {
        "a": {1: 50}, "b": {1: 9}, "c": {1: 60, 2: 70}, "d": {2: 40}, "e": {2: 90}, "f": {3: 10}, "g": {},
    }  # fmt: skip
    drawn = fixed_supports(shown, [1, 2], shot=2, seed=3, least=20)
    assert set(drawn[1]) == {"a"} and set(drawn[2]) <= {"d", "e"} and all(len(names) == 2 for names in drawn.values())
    assert fixed_supports(shown, [1, 3], shot=1, seed=3, least=20) == {1: ("a",)}
    left_out = [fixed_supports({"a": {1: 50}, "c": {1: 60, 2: 70}}, [1, 2], 1, seed, 20) for seed in range(20)]
    assert {1: ("a",)} in left_out and {} in left_out  # "c" shows two novel classes, and is found by some trials
    assert all(found in ({}, {1: ("a",)}) for found in left_out)
    assert queries_by_novel_class(shown, [2, 3]) == ["c", "d", "e", "f", "a", "b"]


def test_trials_that_miss_name_the_class_and_what_to_do(tmp_path):
    data = pascal_with_novel_training(tmp_path)
    for name in [name for name in data.candidates("trn") if "novel" in name][1:]:
        data.label_file(name).write_bytes(data.label_file(name).with_name("t0.png").read_bytes())
    protocol, told = load_protocol("capl"), set()
    for seed in range(30):
        try:
            manifest = protocol.manifest(data, Task(0, drop_small=True, seed=seed))
            assert manifest.header.dropped_classes == [2, 3, 4, 5] and manifest.episodes
        except DataError as error:
            told.add(str(error))
    (message,) = told
    assert message.startswith(
        "pascal fold 0: trials, as many as training images show a class, found none for aeroplane, "
    )
    assert "take another seed (TEST_SEED), or leave" in message
