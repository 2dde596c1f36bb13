"""Score statistics of a count table: a run of segmentation as a whole, or some of its (episode, way) pairs."""

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.metrics.confusion import COUNTS, REGIONS, background_intersection_union, intersection_union
from fsbench.metrics.scores import COMMON, ScoreStatistics

if TYPE_CHECKING:
    import polars as pl


def episode_statistics(
    frame: "pl.DataFrame", class_ids: Sequence[int], void: str, metrics: Sequence[str] = COMMON
) -> ScoreStatistics:
    """Sum a whole run by query image: every score of it (fscs-protocol §7, fss-protocol §7).

    Args:
        frame: the count table, with a column `query`.
        class_ids: numbers of the classes that means are taken over.
        void: rule of `fsbench.metrics.confusion.VOID_RULES`.
        metrics: names of the scores that there are.
    """
    slot = frame["slot"].to_numpy()
    ways, first = slot > 0, slot == 0
    clusters, query = _queries(frame)
    counts = _columns(frame, COUNTS)[first]
    episode = frame["episode"].to_numpy()
    wrong = episode[ways][(frame["present"] != frame["decided"]).to_numpy()[ways]]
    right = ~np.isin(episode[first], wrong)

    def by_query(*values: np.ndarray) -> np.ndarray:
        return _sum_at((clusters, len(values)), (query[first],), np.stack(values, 1))

    return replace(
        pair_statistics(frame, ways, class_ids, void),
        background=by_query(*background_intersection_union(counts, void)),
        foreground=by_query(*intersection_union(counts, void)),
        right=by_query(right, np.ones_like(right)),
        absent_is_zero=True,
        metrics=metrics,
    )


def pair_statistics(frame: "pl.DataFrame", keep: np.ndarray, class_ids: Sequence[int], void: str) -> ScoreStatistics:
    """Sum the (episode, way) rows `keep` alone by query image; accuracy is that of single presence decisions.

    Args:
        frame: the count table, with a column `query`.
        keep: (rows,) bool.
        class_ids: numbers of the classes of these rows at least.
        void: rule of `fsbench.metrics.confusion.VOID_RULES`.
    """
    clusters, query = _queries(frame, keep)
    counts = _columns(frame, COUNTS)[keep]
    column = {number: i for i, number in enumerate(class_ids)}
    columns = np.array([column[number] for number in frame["class_id"].to_numpy()[keep]], dtype=int)
    shape, where = (clusters, len(class_ids)), (query, columns)
    intersection, union = intersection_union(counts, void)
    right = (frame["present"] == frame["decided"]).to_numpy()[keep]
    decisions = _sum_at((*shape, 2), where, np.stack([right, np.ones_like(right)], 1))
    return ScoreStatistics(
        intersection=_sum_at(shape, where, intersection),
        union=_sum_at(shape, where, union),
        truth=_sum_at(shape, where, counts[:, COUNTS.index("gt")]),
        right=decisions.sum(1),
        decisions=decisions,
        regions=_region_sums(frame, keep, clusters, query),
        absent_is_zero=False,
    )


def _region_sums(frame: "pl.DataFrame", keep: np.ndarray, clusters: int, query: np.ndarray) -> np.ndarray | None:
    """Sum the region measures, see `ScoreStatistics.regions`; None for records made before they were measured."""
    if not set(REGIONS) <= set(frame.columns) or any(frame[name].has_nulls() for name in REGIONS):
        return None
    values = _columns(frame, REGIONS)[keep].astype(float)
    return _sum_at((clusters, 3), (query,), np.column_stack([values, np.ones(len(values))]))


def episode_scores(frame: "pl.DataFrame", void: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the IoU (E,) of a count table's episodes by ascending index, and how many decisions are wrong (E,)."""
    _, episode = np.unique(frame["episode"].to_numpy(), return_inverse=True)
    ways = (frame["slot"] > 0).to_numpy()
    counts = np.column_stack([frame[name].to_numpy() for name in COUNTS])
    intersection, union = intersection_union(counts, void)
    counted = ways & (union > 0)
    number = int(episode.max()) + 1
    ratio = np.bincount(episode[counted], intersection[counted] / union[counted], number)
    parts = np.bincount(episode[counted], minlength=number)
    iou = np.where(parts > 0, ratio / np.maximum(parts, 1), np.nan)
    wrong = ways & (frame["present"] != frame["decided"]).to_numpy()
    return iou, np.bincount(episode[wrong], minlength=number)


def sum_by_query(frame: "pl.DataFrame", keep: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum values (kept rows, ...) by query image: (Q, ...)."""
    clusters, query = _queries(frame, keep)
    return _sum_at((clusters, *values.shape[1:]), (query,), values)


def sum_by_class(frame: "pl.DataFrame", keep: np.ndarray, class_ids: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Sum values (kept rows, ...) by query image and class: (Q, C, ...)."""
    clusters, query = _queries(frame, keep)
    column = {number: i for i, number in enumerate(class_ids)}
    columns = np.array([column[number] for number in frame["class_id"].to_numpy()[keep]], dtype=int)
    return _sum_at((clusters, len(class_ids), *values.shape[1:]), (query, columns), values)


def query_numbers(frame: "pl.DataFrame", keep: np.ndarray) -> np.ndarray:
    """Return the number of each kept row's query image, as sums by query image have them."""
    return _queries(frame, keep)[1]


def _columns(frame: "pl.DataFrame", names: Sequence[str]) -> np.ndarray:
    """Stack columns side by side (rows, names); a query of polars would take longer than all that follows."""
    return np.column_stack([frame[name].to_numpy() for name in names])


def _queries(frame: "pl.DataFrame", keep: np.ndarray | slice = slice(None)) -> tuple[int, np.ndarray]:
    """Return the number of distinct query images in the rows `keep`, and each row's, in the order of their names."""
    numbers = _query_numbers(frame)[keep]
    is_there = np.zeros(len(frame), dtype=bool)
    is_there[numbers] = True
    return int(is_there.sum()), (is_there.cumsum() - 1)[numbers]


_QUERY_NUMBERS: dict[int, tuple["weakref.ref[Any]", np.ndarray]] = {}
"""Id of a count table in use -> the table, and its numbers: sorting names takes longer than all other sums."""


def _query_numbers(frame: "pl.DataFrame") -> np.ndarray:
    """Number each row's query image in the order of names; found once for a table."""
    key = id(frame)
    owner, numbers = _QUERY_NUMBERS.get(key, (None, None))
    if numbers is None or owner is None or owner() is not frame:
        numbers = np.unique(frame["query"].to_numpy(), return_inverse=True)[1]
        _QUERY_NUMBERS[key] = weakref.ref(frame, lambda _: _QUERY_NUMBERS.pop(key, None)), numbers
    return numbers


def _sum_at(shape: tuple[int, ...], where: tuple[np.ndarray, ...], values: np.ndarray) -> np.ndarray:
    """Sum `values` at their places `where`: int64, or float64 of real numbers."""
    total = np.zeros(shape, dtype=np.float64 if values.dtype.kind == "f" else np.int64)
    np.add.at(total, where, values)
    return total
