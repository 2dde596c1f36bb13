"""Rows that scores are summed over, the images that each depends on, and sums without the rows of some images.

Shapes: n rows, q query images and K supports of a row, C places of a sum such as classes, G groups of rows, H strata.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain
from math import prod
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

ABSENT = -1
"""Number in a table of images where a row has fewer of them than others."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Query and support images on which n count-table rows depend, by numbers that are the same in all runs.

    Attributes:
        query: (n, q) numbers of each row's query images; (n,) if each row has one, as in segmentation.
        support: (n, K) numbers of each row's supports, -1 where a row has fewer than K; None if the record does not
            name supports.
        cls: (n,) number of each row's class; one number for all rows if a row is about several classes.
        run: (n,) number of each row's run within the record; None if the record holds one run.
        fitted: whether the method is fitted once for all queries of a run, so that all supports of the run act as one.
        equal: number of runs within the record whose supports do not count, as other runs have the same.
    """

    query: np.ndarray
    support: np.ndarray | None
    cls: np.ndarray
    run: np.ndarray | None = None
    fitted: bool = False
    equal: int = 0

    def __len__(self) -> int:
        return len(self.query)

    @cached_property
    def stratum(self) -> np.ndarray:
        """Number (n,), from 0, of each row's stratum: its class within its run."""
        cls = np.unique(self.cls, return_inverse=True)[1].ravel()
        if self.run is None:
            return np.asarray(cls)
        return np.asarray(np.unique(self.run * (int(cls.max(initial=0)) + 1) + cls, return_inverse=True)[1].ravel())

    def take(self, rows: np.ndarray) -> "Rows":
        """Return the images of some rows; `rows` holds their positions, or is a mask (n,) bool."""
        support, run = (None if values is None else values[rows] for values in (self.support, self.run))
        return replace(self, query=self.query[rows], support=support, cls=self.cls[rows], run=run)

    def is_alike(self, other: "Rows") -> bool:
        """Return whether `other` depends on the same images, row by row."""
        same = (len(self), self.fitted, self.equal) == (len(other), other.fitted, other.equal)
        return same and all(
            np.array_equal(own, its) if own is not None and its is not None else own is its
            for own, its in ((getattr(self, name), getattr(other, name)) for name in ("query", "support", "cls", "run"))
        )

    def joined(self, other: "Rows") -> "Rows":
        """Return rows with the same queries that depend on the supports of both `self` and `other`.

        Raises ValueError where the two have other query images or classes.
        """
        if not (np.array_equal(self.query, other.query) and np.array_equal(self.cls, other.cls)):
            raise ValueError("rows are about other query images; expected the same in the same order")
        if self.support is None or other.support is None:
            return replace(self, support=None)
        return replace(self, support=np.concatenate([self.support, other.support], 1))


class Groups(NamedTuple):
    """Groups of count-table rows, which may overlap, as a list of m (group, row) pairs.

    Attributes:
        group: (m,) number, from 0, of the group in each pair.
        row: (m,) index of the row in each pair; a row occurs at most once in a group.
        number: number G of groups.
    """

    group: np.ndarray
    row: np.ndarray
    number: int

    def is_alike(self, other: "Groups") -> bool:
        """Return whether `other` has the same rows in the same groups."""
        return (
            self.number == other.number
            and np.array_equal(self.group, other.group)
            and np.array_equal(self.row, other.row)
        )


class RowValues(Protocol):
    """Values of count-table rows that can be totalled over all rows or some of them."""

    @property
    def of_episodes(self) -> bool:
        """Whether the values are of whole episodes, not of (episode, way) pairs."""

    def take(self, rows: np.ndarray) -> "RowValues":
        """Return the values of some rows; `rows` holds their positions, or is a mask (n,) bool."""

    def total(self) -> np.ndarray:
        """Return the total of all rows, with a leading dimension of 1: (1, ...)."""


@runtime_checkable
class SeparableValues(RowValues, Protocol):
    """Values of count-table rows whose total can be computed without the rows of a group."""

    def without(self, groups: Groups, stratum: np.ndarray) -> np.ndarray:
        """Return the totals (G, ...), each without the rows of one of G groups.

        Args:
            groups: the rows that are left out.
            stratum: (n,) number of each row's stratum (its class within run and fold), from 0.
        """


@dataclass(frozen=True, eq=False)
class RowSum:
    """Values of count-table rows to be added up, over all rows or for each class.

    Attributes:
        values: (n, ...) integers or float64, one value for each of n rows.
        place: (n,) index of the total to which each row is added, such as that of its class; -1 for a row that is left
            out. None if all rows are added to one total.
        places: number C of totals, such as the number of classes.
        of_episodes: whether a row is a whole episode; else it is an (episode, way) pair.
    """

    values: np.ndarray
    place: np.ndarray | None = None
    places: int = 1
    of_episodes: bool = False

    def take(self, rows: np.ndarray) -> "RowSum":
        """Return the values of some rows; `rows` holds their positions, or is a mask (n,) bool."""
        return replace(self, values=self.values[rows], place=None if self.place is None else self.place[rows])

    def total(self) -> np.ndarray:
        """Return the total of all rows: (1, C, ...), or (1, ...) if values are not added up by class."""
        every = np.arange(len(self.values))
        return self.by_group(Groups(np.zeros_like(every), every, 1))

    def without(self, groups: Groups, stratum: np.ndarray) -> np.ndarray:
        """Return totals (G, C, ...), each without the rows of one group and scaled up to the full number of rows.

        The rows that are left of a stratum are weighted by the number of its rows divided by the number of those left
        (statistics spec §3). A total over no rows stays exactly 0.

        Args:
            groups: the rows of each of G groups, which are left out.
            stratum: (n,) number of each row's stratum (its class within run and fold), from 0.
        """
        size, used = np.bincount(stratum), rows_in_strata(groups, stratum)
        place = np.zeros_like(stratum) if self.place is None else self.place
        parts, part = np.unique(place * len(size) + stratum, return_inverse=True)  # of one place and stratum each
        by_part = replace(self, place=part.ravel(), places=len(parts))
        left = by_part.total() - by_part.by_group(groups)
        factor = (size / np.maximum(size - used, 1))[:, parts % len(size)]
        left *= factor.reshape(*factor.shape, *[1] * (left.ndim - 2))
        if self.place is None:
            return np.asarray(left.sum(1))
        total = np.zeros((groups.number, self.places, *left.shape[2:]))
        for number, own in enumerate((parts // len(size)).tolist()):
            if own >= 0:
                total[:, own] += left[:, number]
        return total

    def by_group(self, groups: Groups) -> np.ndarray:
        """Return the total (G, C, ...) of the rows of each of G groups; exact for integers up to 2^53."""
        key, row = groups.group, groups.row
        if self.place is not None:
            place = self.place[row]
            kept = place >= 0
            key, row = (key * self.places + place)[kept], row[kept]
        size, inner = groups.number * self.places, self.values.shape[1:]
        columns = self.values.reshape(len(self.values), prod(inner)).T
        total = np.empty((size, len(columns)))
        for number, column in enumerate(columns):
            total[:, number] = np.bincount(key, column[row], size)
        shape = (groups.number, *inner) if self.place is None else (groups.number, self.places, *inner)
        return total.reshape(shape)


def rows_in_strata(groups: Groups, stratum: np.ndarray) -> np.ndarray:
    """Count each of G groups' rows in each of H strata (classes within run and fold), (G, H)."""
    strata = int(stratum.max()) + 1
    key = groups.group * strata + stratum[groups.row]
    return np.bincount(key, minlength=groups.number * strata).reshape(groups.number, strata)


@lru_cache(maxsize=1 << 14)  # the images of a test are in all of its runs
def image_number(name: str) -> int:
    """Return the number that stands for an image's name in `Rows`: a hash, which is the same in all records.

    >>> image_number("2007_000032") == image_number("2007_000032") != image_number("2007_000033")
    True
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def image_numbers(names: Iterable[str]) -> np.ndarray:
    """Return (n,) the numbers that stand for these image names in `Rows`."""
    listed = list(names)
    known = {name: image_number(name) for name in set(listed)}
    return np.array([known[name] for name in listed], dtype=np.int64)


def padded(listed: Sequence[Sequence[int]]) -> np.ndarray:
    """Stack lists of image numbers into an array (n, longest), padded with -1.

    >>> padded([[5, 7], [6]]).tolist()
    [[5, 7], [6, -1]]
    """
    lengths = np.fromiter(map(len, listed), dtype=np.int64)
    table = np.full((len(listed), lengths.max(initial=0)), ABSENT, dtype=np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.fromiter(chain.from_iterable(listed), dtype=np.int64)
    return table
