"""Pieces of drawing that tests and trainings share: pure functions of (annotations, settings, random state).

Whole draws, each a word of the atlas, are in `fsbench.protocols.parts.draws`. All are bit-exact with the official
programs (fscs-protocol §3, fss-protocol §5): the same calls on a private `numpy.random.RandomState` that the references
make on the global one. `permutation(n)[0]` equals `choice(list, 1, replace=False)[0]` and leaves the same state,
without turning long lists of names into arrays.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import count
from typing import TypeVar

import numpy as np

from fsbench.data.dataset import Pair
from fsbench.data.episodes.episode import Episode
from fsbench.protocols.pools import Pool, TooFewImages

Item = TypeVar("Item")


def draw(rng: np.random.RandomState, items: Sequence[Item]) -> Item:
    """Draw one of `items` as `choice(items, 1, replace=False)` does."""
    return items[rng.permutation(len(items))[0]]


def draw_episode(
    index: int, rng: np.random.RandomState, pool: Pool, *, way: int, shot: int, background: bool
) -> Episode:
    """Draw episode `index` (fscs-protocol §3); `background` allows queries that show none of the support classes.

    Raises TooFewImages where the official program would loop forever.
    """
    query, query_class = draw_query(index, rng, pool, shot)
    classes = _draw_classes(rng, pool.class_ids, query_class, way, background)
    supports = tuple(_draw_supports(rng, number, pool.images_of.get(number, ()), query, shot) for number in classes)
    return Episode(index, query, query_class, classes, supports)


def draw_query(index: int, rng: np.random.RandomState, pool: Pool, shot: int) -> Pair:
    if pool.query_sampling == "sequential":
        return pool.pairs[index % len(pool.pairs)]
    if pool.query_sampling == "image_first":
        name = pool.images[index % len(pool.images)]
        shown = pool.shown(name)
        return name, shown[rng.randint(len(shown))]
    by_turns = pool.query_sampling == "by_turns"
    number = pool.class_ids[index % len(pool.class_ids)] if by_turns else int(draw(rng, pool.class_ids))
    if not pool.images_of.get(number):
        raise TooFewImages(number, 0, shot + 1)
    return draw(rng, pool.images_of[number]), number


def _draw_classes(
    rng: np.random.RandomState, class_ids: Sequence[int], query_class: int, way: int, background: bool
) -> tuple[int, ...]:
    if background:  # the query class has probability 1/2, the others share the rest
        probability = np.ones(len(class_ids)) / 2.0 / (len(class_ids) - 1)
        probability[list(class_ids).index(query_class)] = 0.5
        return tuple(rng.choice(list(class_ids), way, p=probability, replace=False).tolist())
    if way == 1:
        return (query_class,)
    others = [number for number in class_ids if number != query_class]
    return (query_class, *rng.choice(others, way - 1, replace=False).tolist())


def _draw_supports(
    rng: np.random.RandomState, number: int, images: Sequence[str], query: str, shot: int
) -> tuple[str, ...]:
    usable = len(set(images) - {query})
    if usable < shot:
        raise TooFewImages(number, usable, shot)
    return different_supports(query, shot, (draw(rng, images) for _ in count()))


def different_supports(query: str, shot: int, drawn: Iterator[str]) -> tuple[str, ...]:
    """Take `shot` different images that are not the query, of those that are drawn one after the other."""
    taken: list[str] = []
    while len(taken) < shot:
        name = next(drawn)
        if name != query and name not in taken:
            taken.append(name)
    return tuple(taken)


def repeated_supports(rng: np.random.RandomState, images: Sequence[str], query: str, shot: int) -> tuple[str, ...]:
    """Draw `shot` supports from `images`, which may repeat; `images` show at least one other than `query`."""
    supports: list[str] = []
    while len(supports) < shot:
        name = draw(rng, images)
        if name != query:
            supports.append(name)
    return tuple(supports)


def hsnet_episode(index: int, rng: np.random.RandomState, pool: Pool, shot: int) -> Episode:
    """Draw the 1-way episode `index` as HSNet's program does, whose supports may repeat (fss-protocol §5).

    Raises TooFewImages where the program would loop forever.
    """
    query, number = draw_query(index, rng, pool, 1)
    return episode_with_repeats(index, query, number, rng, pool, shot)


def episode_with_repeats(
    index: int, query: str, number: int, rng: np.random.RandomState, pool: Pool, shot: int
) -> Episode:
    """Draw the supports of a query as HSNet's program does, and return its 1-way episode.

    Raises TooFewImages where the program would loop forever.
    """
    images = pool.images_of.get(number, ())
    if not set(images) - {query}:
        raise TooFewImages(number, 0, 1)
    return Episode(index, query, number, (number,), (repeated_supports(rng, images, query, shot),))


def pfenet_supports(rng: random.Random, query: str, number: int, images: Sequence[str], shot: int) -> tuple[str, ...]:
    """Draw different supports of class `number`, none of them the query, from its `images` (hmnet.md §11.2).

    They stand in the program's order, the last drawn first. Raises TooFewImages where the program would loop forever.
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
