"""Clusters of rows that share a query image or supports, and the constants of the design (statistics spec §2, §4).

An image is one cluster in all folds, ways and runs. Shapes: n rows, G clusters of a kind, P parts (runs of a fold).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import nan
from typing import NamedTuple

import numpy as np

from fsbench.scores.rows import ABSENT, Groups, Rows, rows_in_strata

FEW_SETS = 3
"""Disjoint support sets that a class needs; with fewer, the class is left out whole, not single supports (§2)."""


class ImageClusters(NamedTuple):
    """Groups of count-table rows that depend on the same images.

    Attributes:
        groups: the rows of each cluster; a cluster is one image, or several images that always occur together.
        images: (I,) numbers of the images, in ascending order.
        cluster: (I,) number of the cluster to which each image belongs.
    """

    groups: Groups
    images: np.ndarray
    cluster: np.ndarray


class PartGroups(NamedTuple):
    """Clusters of count-table rows (rows that share an image) that have rows in one part of a test, such as a fold.

    Attributes:
        cluster: (g,) number, in the whole test, of each cluster that has rows in the part.
        groups: the rows of each of these clusters, as indices within the part; clusters are numbered from 0 within the
            part.
        leaves_rows: (g,) bool, whether the part has rows outside the cluster.
    """

    cluster: np.ndarray
    groups: Groups
    leaves_rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Design:
    """Rows of a test's count tables, part by part (runs of folds), with the images on which each row depends.

    Attributes:
        parts: for each part the query and support images of its rows.
        fold: (P,) number of the fold to which each part belongs.
    """

    parts: Sequence[Rows]
    fold: Sequence[int]

    def __post_init__(self) -> None:
        if not self.parts or not all(len(rows) for rows in self.parts):
            raise ValueError("a test has a part without rows, expected at least one row in each")

    def is_alike(self, other: "Design") -> bool:
        """Return whether `other` has the same rows, which depend on the same images, in the same parts."""
        pairs = list(zip(self.parts, other.parts, strict=False))
        same_parts = len(self.parts) == len(other.parts) and list(self.fold) == list(other.fold)
        return same_parts and all(own is its or own.is_alike(its) for own, its in pairs)

    def joined(self, other: "Design") -> "Design":
        """Return a design whose rows depend on the supports of both designs, as a difference of two methods does.

        Raises ValueError where the rows of `other` are not about the same query images in the same order, or have other
        folds.
        """
        if list(self.fold) != list(other.fold):
            raise ValueError("methods have other folds, expected the same of both")
        return Design([own.joined(its) for own, its in zip(self.parts, other.parts, strict=True)], self.fold)

    @cached_property
    def starts(self) -> np.ndarray:
        """Position of the first row of each part among all rows, then the number of all rows: (P + 1,)."""
        return np.concatenate([[0], np.cumsum([len(rows) for rows in self.parts])])

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return int(self.starts[-1])

    @property
    def is_fitted(self) -> bool:
        """Whether a method is fitted once for all queries of a part."""
        return self.parts[0].fitted

    @cached_property
    def names_supports(self) -> bool:
        """Whether the supports of all rows are known."""
        if self.is_fitted:
            return True
        tables = [rows.support for rows in self.parts if rows.support is not None]
        return len(tables) == len(self.parts) and any((table != ABSENT).any() for table in tables)

    @cached_property
    def clusters(self) -> dict[str, Groups]:
        """{"query", "support" or "cell": groups of rows that share a query image, a support image, or both}.

        If the supports are unknown, "support" is missing and "cell" groups rows by query image. A row without supports
        is in no group of "support". If a class has few disjoint support sets, "support" groups rows by class.
        """
        query, sets = _joined([rows.query for rows in self.parts]), self._support_sets
        found = {"query": self._queries.groups}
        if sets is None or self._supports is None:
            return found | {"cell": _by_key(_number(query))}
        query_of_row, set_of_row = _number(query), _number(sets)
        cell = query_of_row * (int(set_of_row.max()) + 1) + set_of_row
        supports = _by_key(self._class_of_fold) if self.has_few_sets else self._supports.groups
        return found | {"support": supports, "cell": _by_key(_number(cell[:, None]))}

    @cached_property
    def _queries(self) -> ImageClusters:
        return _clusters(_joined([rows.query for rows in self.parts]))

    @cached_property
    def _supports(self) -> ImageClusters | None:
        """The clusters of supports, however few disjoint sets a class has; None if supports are not known."""
        return None if self._support_sets is None else _clusters(self._support_sets)

    @property
    def supports(self) -> int:
        """Number of clusters of support images, where images that always come together are one; 0 if unknown."""
        return 0 if self._supports is None else self._supports.groups.number

    @cached_property
    def support_sets(self) -> float:
        """Mean number of disjoint support sets of a class (e in statistics §2); NaN if each row has one support.

        NaN also if the supports of a row always occur together. The number depends only on the images, so that all
        scores of the same rows have the same clusters.
        """
        if self._supports is None or len(self._supports.groups.row) <= self.rows:
            return nan
        used, of = self._usage(self._supports.groups)
        return float(
            len(self._supports.groups.row) / self.rows * len(np.unique(self.stratum)) / ((used / of) ** 2).sum()
        )

    @property
    def has_few_sets(self) -> bool:
        """Whether a class has so few disjoint support sets that leaving one out leaves hardly any row."""
        return self.support_sets < FEW_SETS

    @cached_property
    def stratum(self) -> np.ndarray:
        """Number (n,), from 0, of each row's class within its run and fold."""
        part = self._by_row(range(len(self.parts)))
        return _number(np.stack([part, np.concatenate([rows.stratum for rows in self.parts])], 1))

    @cached_property
    def _class_of_fold(self) -> np.ndarray:
        """Number (n,) from 0 of the class of each row in its fold, the same in all runs."""
        return _number(np.stack([self._by_row(self.fold), np.concatenate([rows.cls for rows in self.parts])], 1))

    def _usage(self, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows m of each cluster in each stratum that it has rows in, and all n of that stratum."""
        size = np.bincount(self.stratum)
        key, used = np.unique(groups.group * len(size) + self.stratum[groups.row], return_counts=True)
        return used, size[key % len(size)]

    @cached_property
    def _support_sets(self) -> np.ndarray | None:
        """Number of each row's supports (n, K); of a fitted method, of its run."""
        if self.is_fitted:
            run = [np.zeros(len(rows), int) if rows.run is None else rows.run for rows in self.parts]
            return _number(np.stack([self._by_row(range(len(self.parts))), np.concatenate(run)], 1))[:, None]
        supports = [rows.support for rows in self.parts if rows.support is not None]
        return _joined(supports) if self.names_supports else None

    @cached_property
    def free(self) -> dict[str, int]:
        """{"query" or "support": degrees of freedom}: clusters minus groups (such as classes) of clusters (§4.3)."""
        fold = self._by_row(self.fold)
        levels = [self._class_of_fold, fold, np.zeros_like(fold)]
        levels_of = {"query": levels, "support": levels[1:] if self.is_fitted else levels}
        found = {kind: _free(self.clusters[kind], levels_of[kind]) for kind in ("query", "support") if self._has(kind)}
        if "support" in found:
            found["support"] -= sum(
                {fold: rows.equal for fold, rows in zip(self.fold, self.parts, strict=True)}.values()
            )
        return found

    @cached_property
    def query_images(self) -> int:
        """Number of query images."""
        images = _joined([rows.query for rows in self.parts])
        return len(np.unique(images[images != ABSENT]))

    @cached_property
    def queries_of_row(self) -> float:
        """Mean number of query images of a row: 1 in segmentation, several in classification."""
        return len(self.clusters["query"].row) / self.rows

    @cached_property
    def constants(self) -> tuple[float, float]:
        """(c, φ): the constants in the estimate of the variance between supports (statistics §4.1).

        c is how often the variance of cells (a query with its supports) is contained in that of the supports; φ
        corrects what subtracting it takes away too much.
        """
        if not self._has("support") or self.supports_of_row == 1:
            return 1.0, 1.0
        size = np.bincount(self.stratum)
        used, of = self._usage(self.clusters["support"])
        kept = used < of
        c = float((used[kept] / (of[kept] - used[kept])).sum() / (size / np.maximum(size - 1, 1)).sum())
        rho = float((self.supports_of_row / size).sum() / ((used / of) ** 2).sum())
        return c, float(np.clip((1 - rho) / (1 - c * rho), 1, 2)) if c * rho < 1 else 2.0

    @cached_property
    def supports_of_row(self) -> float:
        """Mean number of support images of a row; 0 if supports are unknown."""
        return len(self.clusters["support"].row) / self.rows if self._has("support") else 0.0

    @cached_property
    def roles(self) -> tuple[np.ndarray, float]:
        """Clusters (I, 2) of the images that are both query and support, and the constant a of statistics §4.2.

        The two columns are the numbers of an image's cluster as a query and as a support. The constant is the part of
        the variance of cells (a query with its supports) that the product of an image's influences in both roles lacks.
        The array is empty if supports are unknown, or if a class or a run has only one cluster of supports.
        """
        supports = self._supports
        if supports is None or self.is_fitted or self.has_few_sets:
            return np.empty((0, 2), dtype=int), 0.0
        _, query, support = np.intersect1d(self._queries.images, supports.images, return_indices=True)
        both = np.stack([self._queries.cluster[query], supports.cluster[support]], 1)
        size = np.bincount(self.stratum)
        asked = rows_in_strata(self._queries.groups, self.stratum)[both[:, 0]]
        used = rows_in_strata(supports.groups, self.stratum)[both[:, 1]]
        kept = (used > 0) & (used < size)
        return both, float((asked / size * used / np.maximum(size - used, 1))[kept].sum() / len(size))

    @cached_property
    def every_cluster(self) -> Groups:
        """Clusters of all kinds as one list of groups, kind after kind in the order of `clusters`."""
        kinds = self.clusters.values()
        starts = accumulate((groups.number for groups in kinds), initial=0)
        group = np.concatenate([groups.group + start for groups, start in zip(kinds, starts, strict=False)])
        return Groups(group, np.concatenate([groups.row for groups in kinds]), sum(groups.number for groups in kinds))

    @cached_property
    def by_part(self) -> list[PartGroups]:
        """For each part, the clusters of `every_cluster` that have rows in it."""
        groups, found = self.every_cluster, []
        part = np.searchsorted(self.starts, groups.row, "right") - 1
        for number, start in enumerate(self.starts[:-1].tolist()):
            there = part == number
            own, group = np.unique(groups.group[there], return_inverse=True)
            size = np.bincount(group, minlength=len(own))
            left = size < len(self.parts[number])
            found.append(PartGroups(own, Groups(group, groups.row[there] - start, len(own)), left))
        return found

    def _has(self, kind: str) -> bool:
        return kind in self.clusters

    def _by_row(self, of_part: Sequence[int]) -> np.ndarray:
        """Repeat a number of each part for its rows, (n,)."""
        return np.repeat(np.asarray(of_part), np.diff(self.starts))


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Put tables of image numbers under each other, each row in ascending order: (n, most)."""
    tables = [part[:, None] if part.ndim == 1 else part for part in parts]
    width = max(table.shape[1] for table in tables)
    filled = [np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=ABSENT) for table in tables]
    return np.sort(np.concatenate(filled), 1)


def _number(table: np.ndarray) -> np.ndarray:
    """Number the distinct rows of a table (n, k): (n,)."""
    number = np.unique(table[:, 0], return_inverse=True)[1].ravel()
    for column in table.T[1:]:  # one column after the other: several times as fast as whole rows
        place = np.unique(column, return_inverse=True)[1].ravel()
        number = np.unique(number * (int(place.max(initial=0)) + 1) + place, return_inverse=True)[1].ravel()
    return np.asarray(number)


def _by_key(number: np.ndarray) -> Groups:
    """Return the groups of rows (n,) of the same number."""
    return Groups(number, np.arange(len(number)), int(number.max()) + 1)


def _clusters(images: np.ndarray) -> ImageClusters:
    """Return the rows of each image of a table (n, k); images that occur in exactly the same rows are one cluster."""
    there = images.ravel() != ABSENT
    names, image = np.unique(images.ravel()[there], return_inverse=True)
    image = image.ravel()
    if images.shape[1] == 1 and there.all():
        return ImageClusters(_by_key(image), names, np.arange(len(names)))
    row = np.repeat(np.arange(len(images)), images.shape[1])
    pairs = np.unique(image * len(images) + row[there])
    image, row = pairs // len(images), pairs % len(images)
    ends = np.flatnonzero(np.diff(image)) + 1
    number_of: dict[bytes, int] = {}
    cluster = np.array([number_of.setdefault(rows.tobytes(), len(number_of)) for rows in np.split(row, ends)])
    merged = np.unique(cluster[image] * len(images) + row)
    return ImageClusters(Groups(merged // len(images), merged % len(images), len(number_of)), names, cluster)


def _free(clusters: Groups, levels: Sequence[np.ndarray]) -> int:
    """Return the number of clusters minus that of the groups they belong to.

    A cluster's group is the narrowest level in which it is not alone; one that is alone everywhere is a group.

    Args:
        clusters: their rows.
        levels: numbers (n,) of classes, folds and the like, the narrowest first.
    """
    group_of = np.full(clusters.number, -1)
    groups = 0
    for level in levels:
        pairs = np.unique(level[clusters.row].astype(np.int64) * clusters.number + clusters.group)
        place, cluster = pairs // clusters.number, pairs % clusters.number
        free = (np.bincount(place)[place] > 1) & (group_of[cluster] < 0)
        group_of[cluster[free]] = groups + place[free]
        groups += int(place.max()) + 1
    alone = int((group_of < 0).sum())
    return clusters.number - len(np.unique(group_of[group_of >= 0])) - alone
