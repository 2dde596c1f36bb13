"""Draws of HSNet and its followers: supports may repeat (fss-protocol §5, fscs-protocol §3).

All are bit-exact with the official programs: the same calls on a private `numpy.random.RandomState` that the references
make on the global one. `permutation(n)[0]` equals `choice(list, 1, replace=False)[0]` and leaves the same state,
without turning long lists of names into arrays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, cycle
from typing import TypeVar

import numpy as np

from fsbench.data.dataset import Pair
from fsbench.data.episodes.episode import Episode
from fsbench.protocols.episode_rules.pools import Pool, TooFewImages
from fsbench.protocols.episode_rules.rules import DrawRule, EpisodeSource, one_way
from fsbench.protocols.episode_rules.streams import Generators, episode_generators, torch_permutation

Item = TypeVar("Item")


def draw(rng: np.random.RandomState, items: Sequence[Item]) -> Item:
    """Draw one of `items` with the random numbers that numpy's `choice(items, 1, replace=False)` takes."""
    return items[rng.permutation(len(items))[0]]


def draw_episode(
    episode: int, rng: np.random.RandomState, pool: Pool, *, way: int, shot: int, background: bool
) -> Episode:
    """Draw an episode by the FS-CS protocol: a query, N classes and K different supports of each (fscs-protocol §3).

    Args:
        episode: number of the episode.
        rng: the episode's random generator.
        pool: possible queries and supports.
        way, shot: N and K.
        background: the query may show none of the N classes.

    Raises:
        TooFewImages: the official program would loop forever.
    """
    query, query_class = draw_query(episode, rng, pool, shot)
    classes = _draw_classes(rng, pool.class_ids, query_class, way, background)
    supports = tuple(_draw_supports(rng, number, pool.images_of.get(number, ()), query, shot) for number in classes)
    return Episode(episode, query, query_class, classes, supports)


def draw_query(episode: int, rng: np.random.RandomState, pool: Pool, shot: int) -> Pair:
    """Draw an episode's query, an (image, class) pair, by the pool's rule `query_sampling`."""
    if pool.query_sampling == "sequential":
        return pool.pairs[episode % len(pool.pairs)]
    if pool.query_sampling == "image_first":
        name = pool.images[episode % len(pool.images)]
        shown = pool.shown(name)
        return name, shown[rng.randint(len(shown))]
    by_turns = pool.query_sampling == "by_turns"
    number = pool.class_ids[episode % len(pool.class_ids)] if by_turns else int(draw(rng, pool.class_ids))
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
    """Take the first `shot` different names from `drawn` that are not the query."""
    taken: list[str] = []
    while len(taken) < shot:
        name = next(drawn)
        if name != query and name not in taken:
            taken.append(name)
    return tuple(taken)


def repeated_supports(rng: np.random.RandomState, images: Sequence[str], query: str, shot: int) -> tuple[str, ...]:
    """Draw `shot` supports from `images` with replacement, none of them `query`."""
    supports: list[str] = []
    while len(supports) < shot:
        name = draw(rng, images)
        if name != query:
            supports.append(name)
    return tuple(supports)


def hsnet_episode(episode: int, rng: np.random.RandomState, pool: Pool, shot: int) -> Episode:
    """Draw a 1-way episode as HSNet's program does: the same image may be a support twice (fss-protocol §5).

    Raises:
        TooFewImages: the program would loop forever.
    """
    query, number = draw_query(episode, rng, pool, 1)
    return episode_with_repeats(episode, query, number, rng, pool, shot)


def episode_with_repeats(
    episode: int, query: str, number: int, rng: np.random.RandomState, pool: Pool, shot: int
) -> Episode:
    """Draw a query's supports with replacement, as HSNet's program does, and return the 1-way episode.

    Args:
        episode: number of the episode.
        query: name of the query.
        number: class of the query.
        rng: the random generator.
        pool: possible supports.
        shot: number of supports.

    Raises:
        TooFewImages: the class has no image besides the query, and the program would loop forever.
    """
    images = pool.images_of.get(number, ())
    if not set(images) - {query}:
        raise TooFewImages(number, 0, 1)
    return Episode(episode, query, number, (number,), (repeated_supports(rng, images, query, shot),))


def _hsnet(source: EpisodeSource) -> Iterator[Episode]:
    """Draw query and supports by NumPy's generator; the query as the list has it, or class first.

    Where every episode is seeded with its number, supports differ from each other (fscs-protocol §3).
    """
    if source.streams.seed is None:
        yield from _by_index(source)
    for episode, (_, generators) in enumerate(source.streams.items(source.asked)):
        yield hsnet_episode(episode, generators.numpy, source.pool, source.shot)


def _by_index(source: EpisodeSource) -> Iterator[Episode]:
    for episode in count():
        rng = np.random.RandomState(episode)  # the official seed of item i
        yield draw_episode(episode, rng, source.pool, way=source.way, shot=source.shot, background=source.background)


def _class_of_gpus(source: EpisodeSource) -> Iterator[Episode]:
    """Draw as `_hsnet` in each process; all have the same seed and draw the same episodes."""
    processes = [_hsnet(source) for _ in range(source.gpus)]
    for episode, process in enumerate(cycle(processes)):
        yield replace(next(process), number=episode)


def _fs_sam2_images(source: EpisodeSource) -> Iterator[Episode]:
    """Draw class and supports of each image by a generator of the episode's own."""
    images = source.pool.images
    for episode, rng in enumerate(episode_generators(source.seed)):
        query = images[episode % len(images)]
        number = int(rng.choice(source.pool.shown(query)))
        yield one_way(episode, query, number, _others(rng, source, number, query))


def _fs_sam2_classes(source: EpisodeSource) -> Iterator[Episode]:
    """Draw class, query and supports by a generator of the episode's own."""
    for episode, rng in enumerate(episode_generators(source.seed)):
        number = int(rng.choice(source.pool.class_ids))
        query = str(rng.choice(source.images(number, source.shot + 1)))
        yield one_way(episode, query, number, _others(rng, source, number, query))


def _others(rng: np.random.Generator, source: EpisodeSource, number: int, query: str) -> list[str]:
    """Draw K different supports among the images of a class without the query."""
    others = [name for name in source.images(number, source.shot, query) if name != query]
    return [others[place] for place in rng.choice(len(others), source.shot, replace=False)]


def _dmtnet(source: EpisodeSource) -> Iterator[Episode]:
    """Take classes in the order of a shuffling sampler, which deals them to the GPUs; what fills no batch is left out.

    All processes begin with the same seed.
    """
    order = torch_permutation(source.asked, 0)  # the sampler's own seed, whatever that of the test is
    order += order[: -len(order) % source.gpus]
    whole = len(order) // source.gpus // source.batch * source.batch
    numbers = count()
    processes = [
        (order[rank :: source.gpus][:whole], Generators.seeded(source.seed).numpy) for rank in range(source.gpus)
    ]
    for place in range(whole):
        for own, rng in processes:
            yield replace(hsnet_episode(own[place], rng, source.pool, source.shot), number=next(numbers))


IN_LIST_ORDER = DrawRule(_hsnet, "sequential", supports_repeat=True)
CLASS_FIRST = DrawRule(_class_of_gpus, "class_first", supports_repeat=True)
BY_TURNS = DrawRule(_hsnet, "by_turns", supports_repeat=True)
SHUFFLED_LIST = DrawRule(_dmtnet, "sequential", supports_repeat=True)
SHUFFLED_TURNS = DrawRule(_dmtnet, "by_turns", supports_repeat=True)
EPISODES_IMAGES = DrawRule(_fs_sam2_images)
EPISODES_CLASSES = DrawRule(_fs_sam2_classes, "class_first")
OF_DATASET = DrawRule(_hsnet, None, supports_repeat=True)
ORDERS = (IN_LIST_ORDER, CLASS_FIRST, BY_TURNS, OF_DATASET)
"""Draws that are HSNet's own, which differ by the order of queries alone."""
