"""Episode sampling of the protocols: pure functions of (annotations, settings, random state).

Bit-exact with the official programs (fscs-protocol §3-§5, fss-protocol §5, hmnet.md §11.2): the same calls on a private
`numpy.random.RandomState` or `random.Random` that the references make on the global ones. `permutation(n)[0]` equals
`choice(list, 1, replace=False)[0]` and leaves the same state, without turning long lists of names into arrays.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeVar

import numpy as np

from fsbench.data.dataset import VOID, Pair
from fsbench.episodes.episode import Episode
from fsbench.protocols.pools import Pool, TooFewImages

Item = TypeVar("Item")

ClassPixels = Callable[[str], tuple[dict[int, int], int]]
"""Image name -> (pixels of every label, pixels in all); see `SegmentationIndex.class_pixels`."""


def draw(rng: np.random.RandomState, items: Sequence[Item]) -> Item:
    """Draw one of `items` as `choice(items, 1, replace=False)` does."""
    return items[rng.permutation(len(items))[0]]


def draw_episode(
    index: int, rng: np.random.RandomState, pool: Pool, *, way: int, shot: int, background: bool
) -> Episode:
    """Draw episode `index` (fscs-protocol §3); `background` allows queries that show none of the support classes.

    Raises TooFewImages where the official program would loop forever.
    """
    query, query_class = _draw_query(index, rng, pool, shot)
    classes = _draw_classes(rng, pool.class_ids, query_class, way, background)
    supports = tuple(_draw_supports(rng, number, pool.images_of.get(number, ()), query, shot) for number in classes)
    return Episode(index, query, query_class, classes, supports)


def _draw_query(index: int, rng: np.random.RandomState, pool: Pool, shot: int) -> Pair:
    if pool.query_sampling == "sequential":
        return pool.pairs[index % len(pool.pairs)]
    if pool.query_sampling == "image_first":
        name = pool.images[index % len(pool.images)]
        shown = pool.shown(name)
        return name, shown[rng.randint(len(shown))]
    number = int(draw(rng, pool.class_ids))
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
    taken: list[str] = []
    while len(taken) < shot:
        name = draw(rng, images)
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


def hsnet_episodes(pool: Pool, *, shot: int, seed: int = 0) -> Iterator[Episode]:
    """All 1-way episodes that HSNet's program draws, one after the other from one stream (fss-protocol §5).

    Supports of an episode may repeat. Raises TooFewImages where the official program would loop forever.
    """
    rng = np.random.RandomState(seed)
    index = 0
    while True:
        query, number = _draw_query(index, rng, pool, 1)
        images = pool.images_of.get(number, ())
        if not set(images) - {query}:
            raise TooFewImages(number, 0, 1)
        yield Episode(index, query, number, (number,), (repeated_supports(rng, images, query, shot),))
        index += 1


def pfenet_episodes(pool: Pool, *, shot: int, seed: int, streams: int) -> Iterator[Episode]:
    """All 1-way episodes that PFENet's program draws with `streams` loader processes (hmnet.md §11.2).

    Image i of a pass over the list is served by process i mod `streams`, whose Python generator is seeded anew for each
    pass. Raises TooFewImages where the official program would loop forever.
    """
    index = 0
    for base_seed in loader_seeds(seed):
        rngs = [random.Random(base_seed + stream) for stream in range(streams)]
        for i, query in enumerate(pool.images):
            yield pfenet_episode(index, query, rngs[i % streams], pool, shot=shot)
            index += 1


def loader_seeds(seed: int) -> Iterator[int]:
    """Base seeds that torch's loader gives its processes, pass after pass, after `torch.manual_seed(seed)`."""
    # spared until it is needed
    import torch

    generator = torch.Generator().manual_seed(seed)
    while True:
        yield int(torch.empty((), dtype=torch.int64).random_(generator=generator))


def pfenet_episode(index: int, query: str, rng: random.Random, pool: Pool, *, shot: int) -> Episode:
    """The episode of image `query` (hmnet.md §11.2); supports stand in the program's order, the last drawn first."""
    shown = pool.shown(query)
    number = shown[rng.randint(1, len(shown)) - 1]
    images = pool.images_of.get(number, ())
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
    return Episode(index, query, number, (number,), (tuple(images[item] for item in reversed(taken)),))


def fssdino_episodes(
    images_of: Mapping[int, Sequence[str]], *, way: int, shot: int, seed: int = 0
) -> Iterator[Episode]:
    """All episodes that FSSDINO's program draws from COCO, by Python's generator (fssdino.md §5).

    With several ways the query may be among the supports, and an image may support two classes.

    Args:
        images_of: class number -> its images in drawing order; classes are drawn in this order.
        way, shot: N and K.
        seed: of the generator.

    Raises:
        TooFewImages: the program would end there.
    """
    rng, numbers = random.Random(seed), list(images_of)
    needed = shot + 1 if way == 1 else shot
    for index in count():
        classes = tuple(rng.sample(numbers, way)) if way > 1 else (rng.choice(numbers),)
        query = rng.choice(images_of[classes[0]]) if way > 1 and images_of[classes[0]] else ""
        drawn = []
        for number in classes:
            if len(images_of[number]) < needed:
                raise TooFewImages(number, len(images_of[number]), needed)
            drawn.append(tuple(rng.sample(images_of[number], needed)))
        if way == 1:
            query, drawn = drawn[0][0], [drawn[0][1:]]
        yield Episode(index, query, classes[0], classes, tuple(drawn))


def augment(
    episode: Episode,
    rng: np.random.RandomState,
    targets: Sequence[int] | None,
    class_pixels: ClassPixels,
    threshold: float,
) -> Episode:
    """Use the support masks' other annotated classes too (fscs-protocol §4).

    `targets` None is the partially augmented setting (the episode's own ways); a list of class ids is the fully
    augmented one, in which a class of the list that is not yet a way becomes one. `rng` must be the state that
    `draw_episode` left. Ways are padded to equal length with copies of their own shots.
    """
    supports = {number: list(names) for number, names in zip(episode.classes, episode.supports, strict=True)}
    allowed = set(episode.classes if targets is None else targets)
    added = False
    for way_class, names in zip(episode.classes, episode.supports, strict=True):
        for name in names:
            pixels, total = class_pixels(name)
            for number in sorted(pixels):
                usable = number in allowed and number not in (0, VOID, way_class)
                if usable and pixels[number] / total > threshold:
                    supports.setdefault(number, []).append(name)
                    added = True
    if not added:
        return episode
    longest = max(map(len, supports.values()))
    for shots in supports.values():
        while len(shots) < longest:
            shots.append(shots[rng.randint(len(shots))])
    return replace(episode, classes=tuple(supports), supports=tuple(map(tuple, supports.values())), augmented=True)
