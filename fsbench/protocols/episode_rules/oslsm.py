"""Draws from OSLSM's and PANet's lists: PMMs, CANet and PANet (atlas-runs.md §3)."""

import random
from collections.abc import Iterator
from itertools import count

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.episode_rules.hsnet import different_supports
from fsbench.protocols.episode_rules.rules import DrawRule, EpisodeSource, one_way


def _pmms(source: EpisodeSource) -> Iterator[Episode]:
    """Draw as PMMs: go through the pairs, which are shuffled in place before each further pass (isaid-protocol §4.2).

    Of several supports the program draws all at once, among the images in the order of the list.
    """
    rng, items = random.Random(source.seed), list(source.pool.pairs)
    for episode in count():
        place = episode % len(items)
        if episode and not place:
            rng.shuffle(items)
        query, number = items[place]
        own = source.images(number, source.shot, query)
        if source.shot > 1:
            supports = tuple(rng.sample([name for name in own if name != query], source.shot))
        else:
            supports = different_supports(query, 1, (own[rng.randint(0, len(own) - 1)] for _ in count()))
        yield one_way(episode, query, number, supports)


def _canet(source: EpisodeSource) -> Iterator[Episode]:
    """Draw as CANet: go through the pairs and two shuffled copies of them.

    The supports are drawn when the queries are known.
    """
    rng = random.Random(source.seed)
    pairs = list(source.pool.pairs)
    for _ in range(2):
        again = list(source.pool.pairs)
        rng.shuffle(again)
        pairs += again
    for episode, (query, number) in enumerate(pairs):
        own = source.images(number, source.shot, query)
        supports = different_supports(query, source.shot, (own[rng.randint(0, len(own) - 1)] for _ in count()))
        yield one_way(episode, query, number, supports)


def _panet(source: EpisodeSource) -> Iterator[Episode]:
    """Draw as PANet: after one draw among data sets a class and K + 1 of its images, the last of which is the query."""
    rng, classes = random.Random(source.seed), list(source.pool.class_ids)
    rng.choices(range(1), k=1)
    for episode in count():
        number = classes[rng.sample(range(len(classes)), 1)[0]]
        own = source.images(number, source.shot + 1)
        *supports, query = (own[place] for place in rng.sample(range(len(own)), source.shot + 1))
        yield one_way(episode, query, number, supports)


def _pmms_classes(source: EpisodeSource) -> Iterator[Episode]:
    """Draw as PMMs on COCO: a class and K + 1 of its images, the first of which is the query."""
    for episode, (_, generators) in enumerate(source.streams.items(source.asked)):
        number = int(generators.numpy.choice(source.pool.class_ids))
        own = source.images(number, source.shot + 1)
        places = generators.numpy.choice(len(own), source.shot + 1, replace=False)
        query, *supports = (own[place] for place in places)
        yield one_way(episode, query, number, supports)


SHUFFLED_WHEN_THROUGH = DrawRule(_pmms, "sequential")
TWO_COPIES = DrawRule(_canet, "sequential")
QUERY_LAST = DrawRule(_panet, "class_first")
QUERY_FIRST = DrawRule(_pmms_classes, "class_first")
