"""Pools: the queries, supports and classes that episodes of one setting are drawn from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from fsbench.data.dataset import Pair, PairList, QuerySampling, SegmentationIndex
from fsbench.errors import DataError, SettingsError
from fsbench.protocols.base import Protocol
from fsbench.protocols.lists import pair_list, training_split


class TooFewImages(DataError):
    """A class cannot supply the supports that were asked for."""

    def __init__(self, number: int, usable: int, shot: int):
        super().__init__(f"class {number} has {usable} usable support images, {shot} are needed")
        self.number = number


@dataclass(frozen=True)
class Pool:
    """Everything that episodes of one setting are drawn from.

    Attributes:
        pairs: queries with their classes, in list order.
        images_of: class number -> support images in drawing order.
        class_ids: numbers of the classes in drawing order.
        query_sampling: "sequential" takes pair `index mod length`; "class_first" draws a class and then an image of it;
            "image_first" takes image `index mod length` and draws one of the classes that its label map shows.
        classes_of: image name -> classes that its label map shows; needed for "image_first".
    """

    pairs: Sequence[Pair]
    images_of: Mapping[int, Sequence[str]]
    class_ids: Sequence[int]
    query_sampling: QuerySampling | Literal["image_first"]
    classes_of: Callable[[str], Sequence[int]] | None = None

    @cached_property
    def images(self) -> list[str]:
        """Distinct images of the pairs, in their order."""
        return list(dict.fromkeys(name for name, _ in self.pairs))

    def shown(self, name: str) -> list[int]:
        """Return the classes that the label map of `name` shows, ascending, however small (hmnet.md §11.2)."""
        assert self.classes_of is not None
        return sorted(set(self.classes_of(name)).intersection(self.class_ids))

    def without(self, classes: Sequence[int]) -> "Pool":
        """Return the pool without queries and supports of `classes`."""
        class_ids = [number for number in self.class_ids if number not in classes]
        return replace(self, pairs=[pair for pair in self.pairs if pair[1] in class_ids], class_ids=class_ids)


def ordinary_pool(index: SegmentationIndex, pairs: PairList, class_ids: Sequence[int]) -> Pool:
    """Return the pool of the settings original, partially and fully augmented, of HSNet's protocol, and of training."""
    return Pool(pairs.pairs, index.support_images(pairs), sorted(class_ids), index.query_sampling)


def image_pool(index: SegmentationIndex, pairs: PairList, class_ids: Sequence[int]) -> Pool:
    """Return the pool of PFENet's protocol; it opens the label maps of queries when episodes are drawn."""
    return Pool(
        pairs.pairs, pairs.images_of, sorted(class_ids), "image_first", lambda name: list(index.class_pixels(name)[0])
    )


def size_pool(pairs: PairList, query_sampling: QuerySampling, *, way: int, shot: int, seed: int = 0) -> Pool:
    """Return the pool of a size-restricted split (fscs-protocol §5): grouped by class, filtered, shuffled once.

    Data sets with sequential queries (PASCAL) keep every class in `class_ids` in order of first appearance and filter
    pairs only for more than one way; the others (COCO) drop classes that have no more than `shot` images.
    """
    enough = {number: names for number, names in pairs.images_of.items() if len(names) > shot}
    if query_sampling == "sequential":
        class_ids = list(pairs.images_of)
        queries = pairs.images_of if way == 1 else enough
    else:
        class_ids = list(enough)
        queries = enough
    shuffled = [(name, number) for number, names in queries.items() for name in names]
    np.random.RandomState(seed).shuffle(shuffled)
    return Pool(shuffled, pairs.images_of, class_ids, "sequential")


def training_pool(
    index: SegmentationIndex,
    protocol: Protocol,
    fold: int,
    skip_small_classes: bool,
    allow_background_queries: bool = True,
    shot: int = 1,
) -> Pool:
    """Return the pool of 1-way training episodes of `shot` supports: base classes in training images.

    Args:
        index: the data set.
        protocol: decides the list of training images and the sampling of queries.
        fold: fold whose novel classes are left out.
        skip_small_classes: leave out classes with too few images instead of stopping.
        allow_background_queries: queries may show none of the support classes, which takes a second class.
        shot: supports of an episode.

    Raises:
        SettingsError: the protocol has no training part.
        DataError: a base class has too few images for a query and its supports, or there are too few base classes.
    """
    if protocol.sampler == "fssdino":
        raise SettingsError(
            f"the protocol {protocol.name} has no training part; test a method that is not trained, or one that was "
            "trained under another protocol (CKPT=<file>)"
        )
    pairs = pair_list(index, training_split(protocol), fold)
    make_pool = image_pool if protocol.sampler == "pfenet" else ordinary_pool
    pool = make_pool(index, pairs, index.train_classes(fold))
    small = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) <= shot]
    if small and not skip_small_classes:
        option = "SHOT" if shot == 1 else "--data.training_shot"
        raise DataError(too_few_images(index, pairs, pool, fold, shot + 1, option))
    pool = pool.without(small)
    needed = 2 if allow_background_queries else 1
    if len(pool.class_ids) < needed:
        raise DataError(
            f"{index.name} fold {fold} has {len(pool.class_ids)} base classes to train on, expected {needed} or more; "
            "use another fold or other folds"
        )
    return pool


def too_few_images(
    index: SegmentationIndex, pairs: PairList, pool: Pool, fold: int, needed: int, option: str = "SHOT"
) -> str:
    """Return the message that names the classes of `pool` with fewer than `needed` images and the `option` to lower."""
    counts = {index.class_names[number - 1]: len(pairs.images_of.get(number, ())) for number in pool.class_ids}
    small = ", ".join(f"{name} {count}" for name, count in counts.items() if count < needed)
    return (
        f"{index.name} fold {fold}: too few images of some classes for a query and its supports "
        f"({small}; {needed} each are needed); add images, lower {option}, or leave these classes out with "
        "DROP_SMALL=1 (--drop-small), which the record will say"
    )
