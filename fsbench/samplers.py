"""Episode sampling of the FS-CS protocol: pure functions of (annotations, settings, random state).

Bit-exact with the official programs (fscs-protocol §3-§5): the same calls on a private `numpy.random.RandomState` that
the reference makes on numpy's global one. `permutation(n)[0]` equals `choice(list, 1, replace=False)[0]` and leaves the
same state, without turning long lists of names into arrays.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fsbench.annotations import VOID, AnnotationIndex, Pair, PairList
from fsbench.errors import DataError

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


class TooFewImages(DataError):
    """A class cannot supply the supports that were asked for."""

    def __init__(self, number: int, found: int, shot: int):
        super().__init__(f"class {number} has {found} usable support images, {shot} are needed")
        self.number = number


@dataclass(frozen=True)
class Pool:
    """What episodes are drawn from: queries, support images of every class, and the classes in drawing order."""

    pairs: Sequence[Pair]
    images_of: Mapping[int, Sequence[str]]
    class_ids: Sequence[int]
    query_rule: Literal["listed", "drawn"]


def _draw(rng: np.random.RandomState, items: Sequence[str]) -> str:
    return items[rng.permutation(len(items))[0]]


def draw_episode(index: int, rng: np.random.RandomState, pool: Pool, *, way: int, shot: int, empty: bool) -> Episode:
    """Episode `index` (fscs-protocol §3). `empty` allows queries that show none of the support classes.

    Raises TooFewImages where the official program would loop forever.
    """
    if pool.query_rule == "listed":
        query, query_class = pool.pairs[index % len(pool.pairs)]
    else:
        query_class = int(rng.choice(list(pool.class_ids), 1, replace=False)[0])
        if not pool.images_of.get(query_class):
            raise TooFewImages(query_class, 0, shot + 1)
        query = _draw(rng, pool.images_of[query_class])
    classes = _draw_classes(rng, pool.class_ids, query_class, way, empty)
    supports = tuple(_draw_supports(rng, number, pool.images_of.get(number, ()), query, shot) for number in classes)
    return Episode(index, query, query_class, classes, supports)


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
    """Pool of the settings original, partially and fully augmented, and of training."""
    return Pool(pairs.pairs, pairs.images_of, sorted(class_ids), index.query_rule)


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
