"""Episodes of few-shot classification (fort.md §1, §4).

The authors' episodes depend on how many random numbers a method used before, so no two methods saw the same ones and no
list can be reproduced. These follow from (seed, episode index) alone and are the same for every method.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import cast

import numpy as np

from fsbench.data.dataset import ClassificationIndex
from fsbench.episodes.episode import ClassificationEpisode, Episode
from fsbench.episodes.manifest import CLASSIFICATION, Manifest
from fsbench.errors import DataError, SettingsError

PROTOCOL, VERSION = "fort", 1
EPISODES = 2000

OFFICIAL_CLASS_SIZE = 50
"""Classes with fewer images are repeated up to so many entries in the authors' program; an image may then be support
and query of one episode (§2). Without, `min_class_size` is None."""


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


def draw_classification_manifest(
    index: ClassificationIndex, way: int, shot: int, queries: int, episodes: int, seed: int, min_class_size: int | None
) -> Manifest:
    """Draw the list of episodes that all methods share; raises as `classification_episodes` does.

    Fold, setting and empty queries in the header mean nothing here: they are part of the file format and of its hash.
    """
    sizes = [len(images) for images in index.images]
    numbers = range(1, len(sizes) + 1)
    drawn = classification_episodes(sizes, way, shot, queries, seed, min_class_size, index.class_names)
    header = {
        "kind": CLASSIFICATION,
        "protocol": PROTOCOL,
        "version": VERSION,
        "dataset": index.name,
        "fold": 0,
        "folds": 1,
        "way": way,
        "shot": shot,
        "queries": queries,
        "setting": "original",
        "classes": "all",
        "empty": False,
        "seed": seed,
        "min_class_size": min_class_size,
        "filled_classes": sum(size < (min_class_size or 0) for size in sizes),
        "small_classes": sum(size < OFFICIAL_CLASS_SIZE for size in sizes),
        "lists": index.origin,
        "all_lists_sha256": index.sha256,
        "dropped_classes": [],
        "requested": episodes,
        "official_episodes": EPISODES,
        "class_ids": list(numbers),
        "class_names": {str(number): name for number, name in zip(numbers, index.class_names, strict=True)},
    }
    return Manifest(header, cast("tuple[Episode, ...]", tuple(islice(drawn, episodes))))
