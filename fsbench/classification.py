"""Episodes of few-shot classification, and their accuracy (fort.md §1, §4).

The authors' episodes depend on how many random numbers a method used before, so no two methods saw the same ones and no
list can be reproduced. These follow from (seed, episode index) alone and are the same for every method.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fsbench.errors import DataError, SettingsError
from fsbench.images import ImageIndex
from fsbench.manifest import CLASSIFICATION, Manifest
from fsbench.samplers import ClassificationEpisode, Episode
from fsbench.scores import Sums
from fsbench.stats import Interval

if TYPE_CHECKING:
    import polars as pl

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


@dataclass(frozen=True)
class NamedQueries:
    """What is kept of one evaluated episode.

    Attributes:
        episode: its index.
        classes: numbers of its classes, from 1, as records have them.
        named: (N, q) for each query image, way by way, the way from 0 that it was taken for.
    """

    episode: int
    classes: tuple[int, ...]
    named: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """Rows of a count table, one a way, whose unit is a query image: `tp` are taken for the way rightly, `pred` in
        all, `gt` show it. What only masks have is None."""
        ways = len(self.classes)
        taken = np.bincount(self.named.ravel(), minlength=ways)
        right = (self.named == np.arange(ways)[:, None]).sum(1)
        return [
            {
                "episode": self.episode,
                "slot": way + 1,
                "class_id": number,
                "tp": int(right[way]),
                "pred": int(taken[way]),
                "gt": self.named.shape[1],
                "pred_void": 0,
                "void": 0,
                "valid": self.named.size,
                "present": True,
                "decided": bool(taken[way]),
                "score": None,
                "rom": None,
                "rum": None,
            }
            for way, number in enumerate(self.classes)
        ]


def build_manifest(
    index: ImageIndex, way: int, shot: int, queries: int, episodes: int, seed: int, min_class_size: int | None
) -> Manifest:
    """The list of episodes that all methods share. Raises as `classification_episodes` does."""
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


def accuracy_sums(frame: "pl.DataFrame", keep: np.ndarray | None = None) -> Sums:
    """Right and all query images of every episode, of the rows `keep` (all when None)."""
    columns = [frame[name].to_numpy() for name in ("episode", "tp", "gt")]
    episode, right, shown = columns if keep is None else (column[keep] for column in columns)
    places = np.unique(episode, return_inverse=True)[1]
    sums = np.zeros((int(places.max()) + 1, 2), dtype=np.int64)
    np.add.at(sums, places, np.stack([right, shown], 1))
    no_masks = np.zeros((len(sums), 0))
    return Sums(no_masks, no_masks, no_masks, None, sums)


def accuracy_interval(sums: Sums) -> Interval:
    """Mean accuracy of the episodes with its 95 % interval (§1)."""
    mean, half = mean_interval(100 * sums.right[:, 0] / sums.right[:, 1])
    return Interval(mean, mean - half, mean + half)


def mean_interval(accuracies: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean of the episodes' accuracies, and half the width of its 95 % interval, 1.96 standard errors (ddof 0)."""
    values = np.asarray(accuracies, float)
    if not values.size:
        raise SettingsError("no episode was evaluated; expected at least one")
    return float(values.mean()), float(1.96 * values.std() / math.sqrt(values.size))
