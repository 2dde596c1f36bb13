"""Episodes of few-shot classification, and their accuracy (fort.md §1, §4).

The authors' episodes depend on how many random numbers a method used before, so no two methods saw the same ones and no
list can be reproduced. These follow from (seed, episode index) alone and are the same for every method.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fsbench.errors import DataError, SettingsError

OFFICIAL_CLASS_SIZE = 50
"""Classes with fewer images are repeated up to so many entries in the authors' program; an image may then be support
and query of one episode (§2). Without, `min_class_size` is None."""


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


def classification_episodes(
    class_sizes: Sequence[int],
    way: int,
    shot: int,
    queries: int,
    seed: int = 0,
    min_class_size: int | None = None,
    names: Sequence[str] = (),
) -> Iterator[ClassificationEpisode]:
    """Episodes without end.

    Args:
        class_sizes: number of images of every class.
        way, shot, queries: N, K and q, the queries of each class.
        seed: of the list; every episode is drawn from (seed, its index).
        min_class_size: smaller classes are repeated in a circle up to so many entries; None leaves them as they are.
        names: of the classes, for what is said about them; their positions are said without.

    Raises SettingsError for more ways than classes, DataError for classes with fewer than K + q entries.
    """
    if min(way, shot, queries) < 1:
        raise SettingsError(f"way {way}, shot {shot} and queries {queries}: expected 1 or more of each")
    if way > len(class_sizes):
        raise SettingsError(f"way {way} is more than the {len(class_sizes)} classes of the data set; lower WAY")
    entries = [max(size, min_class_size or 0) if size else 0 for size in class_sizes]
    small = [number for number, count in enumerate(entries) if count < shot + queries]
    if small:
        first = repr(names[small[0]]) if names else small[0]
        raise DataError(
            f"{len(small)} of {len(entries)} classes have fewer than {shot + queries} images (class {first} has "
            f"{class_sizes[small[0]]}), expected {shot} for support and {queries} queries; lower SHOT or the queries"
        )
    return _draw(class_sizes, entries, way, shot, queries, seed)


def _draw(
    sizes: Sequence[int], entries: Sequence[int], way: int, shot: int, queries: int, seed: int
) -> Iterator[ClassificationEpisode]:
    index = 0
    while True:
        rng = np.random.Generator(np.random.PCG64(seed=[seed, index]))
        classes = rng.permutation(len(sizes))[:way].tolist()
        drawn = [(rng.permutation(entries[c])[: shot + queries] % sizes[c]).tolist() for c in classes]
        yield ClassificationEpisode(
            index,
            tuple(classes),
            tuple(tuple(images[:shot]) for images in drawn),
            tuple(tuple(images[shot:]) for images in drawn),
        )
        index += 1


def mean_interval(accuracies: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean of the episodes' accuracies, and half the width of its 95 % interval, 1.96 standard errors (ddof 0)."""
    values = np.asarray(accuracies, float)
    if not values.size:
        raise SettingsError("no episode was evaluated; expected at least one")
    return float(values.mean()), float(1.96 * values.std() / math.sqrt(values.size))
