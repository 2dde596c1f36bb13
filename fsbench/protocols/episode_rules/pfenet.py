"""Draws of PFENet and its followers: queries are the images of a list in its order (hmnet.md §11.2).

The generators make the calls that the authors' programs make on Python's and NumPy's global ones.
"""

import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.episode_rules.hsnet import different_supports
from fsbench.protocols.episode_rules.pools import TooFewImages
from fsbench.protocols.episode_rules.rules import DrawRule, EpisodeSource, one_way


def pfenet_supports(rng: random.Random, query: str, number: int, images: Sequence[str], shot: int) -> tuple[str, ...]:
    """Draw different supports of a class, none of them the query, as PFENet's program does (hmnet.md §11.2).

    They are returned in the program's order, the last drawn first.

    Args:
        rng: the random generator.
        query: name of the query.
        number: number of the class.
        images: images of the class.
        shot: number of supports.

    Raises:
        TooFewImages: the program would loop forever.
    """
    usable = len(images) - (query in images)
    if usable < shot:
        raise TooFewImages(number, usable, shot)
    taken: list[int] = []
    for _ in range(shot):
        rng.randint(1, len(images))  # the program draws once in vain before every support
        drawn = rng.randint(1, len(images)) - 1
        while images[drawn] == query or drawn in taken:
            drawn = rng.randint(1, len(images)) - 1
        taken.append(drawn)
    return tuple(images[item] for item in reversed(taken))


def _pfenet(source: EpisodeSource, numpy_class: bool = False, query_allowed: bool = False) -> Iterator[Episode]:
    """Draw the class of each image of the list, and K different supports.

    Args:
        source: drawn from.
        numpy_class: the class is drawn by NumPy's generator, the supports by Python's.
        query_allowed: the query may be its own support.
    """
    images = source.pool.images
    for episode, (place, generators) in enumerate(source.streams.items(len(images))):
        query = images[place]
        shown = source.pool.shown(query)
        if numpy_class:
            number = int(generators.numpy.choice(shown))
        else:
            number = shown[generators.python.randint(1, len(shown)) - 1]
        own = source.pool.images_of.get(number, ())
        supports = pfenet_supports(generators.python, "" if query_allowed else query, number, own, source.shot)
        yield one_way(episode, query, number, supports)


def _mlc(source: EpisodeSource) -> Iterator[Episode]:
    """Draw as MLC: image, class and supports for each episode; a too small support is drawn again, and stays."""
    images = source.pool.images
    listed = {number: sorted(set(names)) for number, names in source.pool.images_of.items()}
    for episode, (_, generators) in enumerate(source.streams.items(source.asked)):
        rng = generators.python
        query = rng.choice(images)
        number = rng.choice(source.pool.shown(query))
        usable = _without(listed.get(number, []), query)
        large = sum(source.may_support(name, number) for name in usable)
        if large < source.shot:
            raise TooFewImages(number, large, source.shot)
        supports: list[str] = []
        while len(supports) < source.shot:
            drawn = rng.choice(usable)
            if source.may_support(drawn, number):
                supports.append(drawn)
                usable = _without(usable, drawn)
        yield one_way(episode, query, number, supports)


def _without(names: list[str], name: str) -> list[str]:
    """Return sorted `names` without one of them."""
    place = bisect_left(names, name)
    return names[:place] + names[place + 1 :] if names[place : place + 1] == [name] else names


def _fptrans(source: EpisodeSource) -> Iterator[Episode]:
    """Draw as FPTrans: go through a permutation of the list in each pass.

    Class and supports come from the generator of the permutation.
    """
    rng, images = np.random.RandomState(source.seed), source.pool.images
    numbers = count()
    while True:
        for place in rng.permutation(np.arange(len(images))):
            query = images[place]
            number = int(rng.choice(source.pool.shown(query)))
            own = source.images(number, source.shot, query)
            supports = different_supports(query, source.shot, (own[rng.choice(len(own), size=1)[0]] for _ in count()))
            yield one_way(next(numbers), query, number, supports)


IMAGE_THEN_CLASS = DrawRule(_pfenet)
QUERY_ALLOWED = DrawRule(lambda source: _pfenet(source, query_allowed=True), query_may_support=True)
CLASS_BY_NUMPY = DrawRule(lambda source: _pfenet(source, numpy_class=True))
RANDOM_IMAGE = DrawRule(_mlc)
SHUFFLED_IMAGES = DrawRule(_fptrans)
