"""Pools: the queries, supports and classes that episodes of one setting are drawn from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from fsbench.base.errors import DataError
from fsbench.data.dataset import Pair, PairList, QuerySampling, SegmentationData


class TooFewImages(DataError):
    """A class has fewer images than its supports need."""

    def __init__(self, number: int, usable: int, shot: int):
        super().__init__(f"class {number} has {usable} usable support images, {shot} are needed")
        self.number = number


@dataclass(frozen=True)
class Pool:
    """Possible queries and supports, from which the episodes of one test are drawn.

    Attributes:
        pairs: queries with their classes, in list order.
        images_of: {class number: support images in drawing order}.
        class_ids: numbers of the classes in drawing order.
        query_sampling: "sequential" takes pair `index mod length`; "class_first" draws a class and then an image of it;
            "by_turns" draws an image of class `index mod classes`;
            "image_first" takes image `index mod length` and draws one of the classes that its label map shows.
        classes_of: gives the classes that an image's label map shows; needed for "image_first".
    """

    pairs: Sequence[Pair]
    images_of: Mapping[int, Sequence[str]]
    class_ids: Sequence[int]
    query_sampling: QuerySampling | Literal["image_first"]
    classes_of: Callable[[str], Sequence[int]] | None = None

    @cached_property
    def images(self) -> list[str]:
        """Names of the queries, each once, in list order."""
        return list(dict.fromkeys(name for name, _ in self.pairs))

    def shown(self, name: str) -> list[int]:
        """Return those of the pool's classes that the label map of image `name` shows, ascending, however small."""
        assert self.classes_of is not None
        return sorted(set(self.classes_of(name)).intersection(self.class_ids))

    def without(self, classes: Sequence[int]) -> "Pool":
        """Return the pool without queries and supports of `classes`."""
        class_ids = [number for number in self.class_ids if number not in classes]
        return replace(self, pairs=[pair for pair in self.pairs if pair[1] in class_ids], class_ids=class_ids)


def ordinary_pool(data: SegmentationData, pairs: PairList, class_ids: Sequence[int]) -> Pool:
    """Return the pool of queries and supports of an (image, class) list, with the data set's own rule for queries."""
    return Pool(pairs.pairs, data.support_images(pairs), sorted(class_ids), data.query_sampling)


LEAVE_OUT = "leave these classes out with --drop-small; the record will name them"
"""Way out for tests of which some classes cannot be tested."""


def lower_shots(shot: int, option: str = "--shot") -> str:
    """Return the advice "lower --shot, " for an error message; "" if there is only one shot.

    >>> lower_shots(5), lower_shots(1)
    ('lower --shot, ', '')
    """
    return f"lower {option}, " if shot > 1 else ""


def too_few_images(
    data: SegmentationData,
    pairs: PairList,
    pool: Pool,
    fold: int,
    needed: int,
    option: str = "--shot",
    dropped: bool = False,
) -> str:
    """Return the error message that names classes of `pool` with fewer than `needed` images.

    Args:
        data: the data set.
        pairs: the (image, class) list.
        pool: possible queries and supports.
        fold: the fold.
        needed: number of images that a class needs.
        option: command-line option that the user could lower, such as "--shot".
        dropped: True if these classes were left out already, and too few other classes remain.
    """
    counts = {data.class_names[number - 1]: len(pairs.images_of.get(number, ())) for number in pool.class_ids}
    small = ", ".join(f"{name} {count}" for name, count in counts.items() if count < needed)
    if dropped:
        left = sum(count >= needed for count in counts.values())
        return (
            f"{data.name} fold {fold}: {left} of {len(counts)} classes are left, since --drop-small "
            f"leaves out those with too few images for a query and its supports ({small}; {needed} each are needed); "
            f"add images{'' if needed <= 2 else f', or lower {option}'}"
        )
    return (
        f"{data.name} fold {fold}: too few images of some classes for a query and its supports "
        f"({small}; {needed} each are needed); add images, {lower_shots(needed - 1, option)}or {LEAVE_OUT}"
    )
