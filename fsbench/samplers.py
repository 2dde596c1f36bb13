"""Episode sampling of the protocols: pure functions of (annotations, settings, random state).

Bit-exact with the official programs (fscs-protocol §3-§5, fss-protocol §5, hmnet.md §11.2): the same calls on a private
`numpy.random.RandomState` or `random.Random` that the references make on the global ones. `permutation(n)[0]` equals
`choice(list, 1, replace=False)[0]` and leaves the same state, without turning long lists of names into arrays.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np

from fsbench.annotations import VOID, AnnotationIndex, Pair, PairList
from fsbench.errors import DataError

Item = TypeVar("Item")

ClassPixels = Callable[[str], tuple[dict[int, int], int]]
"""Image name -> (pixels of every label, pixels in all); see `AnnotationIndex.class_pixels`."""


@dataclass(frozen=True)
class Episode:
    """One task: a query and, per way, the names of its support images. Ways are in the order they were drawn."""

    index: int
    query: str
    query_class: int
    classes: tuple[int, ...]
    supports: tuple[tuple[str, ...], ...]
    augmented: bool = False


@dataclass(frozen=True)
class ClassificationEpisode:
    """One task: positions of its classes in the data set's sorted list, and of images in each class's.

    Attributes:
        index: number in the list of episodes.
        classes: N positions; a label is a place in this tuple.
        support, query: for each class K and q positions of images.
    """

    index: int
    classes: tuple[int, ...]
    support: tuple[tuple[int, ...], ...]
    query: tuple[tuple[int, ...], ...]


class TooFewImages(DataError):
    """A class cannot supply the supports that were asked for."""

    def __init__(self, number: int, found: int, shot: int):
        super().__init__(f"class {number} has {found} usable support images, {shot} are needed")
        self.number = number


@dataclass(frozen=True)
class Pool:
    """What episodes are drawn from: queries, support images of every class, and the classes in drawing order.

    `query_rule` "listed" takes pair `index mod len`, "drawn" draws a class and then an image of it; "image" takes
    image `index mod len` and draws one of the classes that its label map shows, `classes_of(image)`.
    """

    pairs: Sequence[Pair]
    images_of: Mapping[int, Sequence[str]]
    class_ids: Sequence[int]
    query_rule: Literal["listed", "drawn", "image"]
    classes_of: Callable[[str], Sequence[int]] | None = None

    @cached_property
    def images(self) -> list[str]:
        """Distinct images of the pairs, in their order."""
        return list(dict.fromkeys(name for name, _ in self.pairs))

    def shown(self, name: str) -> list[int]:
        """Classes that the label map of `name` shows, ascending, however few pixels they have (hmnet.md §11.2)."""
        assert self.classes_of is not None
        return sorted(set(self.classes_of(name)).intersection(self.class_ids))


def _draw(rng: np.random.RandomState, items: Sequence[Item]) -> Item:
    return items[rng.permutation(len(items))[0]]


def draw_episode(index: int, rng: np.random.RandomState, pool: Pool, *, way: int, shot: int, empty: bool) -> Episode:
    """Episode `index` (fscs-protocol §3). `empty` allows queries that show none of the support classes.

    Raises TooFewImages where the official program would loop forever.
    """
    query, query_class = _draw_query(index, rng, pool, shot)
    classes = _draw_classes(rng, pool.class_ids, query_class, way, empty)
    supports = tuple(_draw_supports(rng, number, pool.images_of.get(number, ()), query, shot) for number in classes)
    return Episode(index, query, query_class, classes, supports)


def _draw_query(index: int, rng: np.random.RandomState, pool: Pool, shot: int) -> Pair:
    if pool.query_rule == "listed":
        return pool.pairs[index % len(pool.pairs)]
    if pool.query_rule == "image":
        name = pool.images[index % len(pool.images)]
        shown = pool.shown(name)
        return name, shown[rng.randint(len(shown))]
    number = int(_draw(rng, pool.class_ids))
    if not pool.images_of.get(number):
        raise TooFewImages(number, 0, shot + 1)
    return _draw(rng, pool.images_of[number]), number


def _draw_classes(
    rng: np.random.RandomState, class_ids: Sequence[int], query_class: int, way: int, empty: bool
) -> tuple[int, ...]:
    if empty:  # the query class has probability 1/2, the others share the rest
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
        name = _draw(rng, images)
        if name != query and name not in taken:
            taken.append(name)
    return tuple(taken)


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
        supports: list[str] = []
        while len(supports) < shot:
            name = _draw(rng, images)
            if name != query:
                supports.append(name)
        yield Episode(index, query, number, (number,), (tuple(supports),))
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


def ordinary_pool(index: AnnotationIndex, pairs: PairList, class_ids: Sequence[int]) -> Pool:
    """Pool of the settings original, partially and fully augmented, of HSNet's protocol, and of training."""
    return Pool(pairs.pairs, index.support_images(pairs), sorted(class_ids), index.query_rule)


def image_pool(index: AnnotationIndex, pairs: PairList, class_ids: Sequence[int]) -> Pool:
    """Pool of PFENet's protocol; opens the label maps of queries when episodes are drawn."""
    return Pool(
        pairs.pairs, pairs.images_of, sorted(class_ids), "image", lambda name: list(index.class_pixels(name)[0])
    )


def size_pool(pairs: PairList, query_rule: str, *, way: int, shot: int, seed: int = 0) -> Pool:
    """Pool of a size-restricted split (fscs-protocol §5): grouped by class, filtered, shuffled once with `seed`.

    Listed datasets (PASCAL) keep every class in `class_ids` in order of first appearance and filter pairs only for
    more than one way; drawn datasets (COCO) drop classes that have no more than `shot` images.
    """
    enough = {number: names for number, names in pairs.images_of.items() if len(names) > shot}
    if query_rule == "listed":
        class_ids = list(pairs.images_of)
        queries = pairs.images_of if way == 1 else enough
    else:
        class_ids = list(enough)
        queries = enough
    shuffled = [(name, number) for number, names in queries.items() for name in names]
    np.random.RandomState(seed).shuffle(shuffled)
    return Pool(shuffled, pairs.images_of, class_ids, "listed")
