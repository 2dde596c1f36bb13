"""Score statistics of a count table: a run of segmentation as a whole, or some of its (episode, way) pairs."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

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
    wrong = episode[ways & ~_right_decisions(frame)]
    right = ~np.isin(episode[first], wrong)
    values = [*background_intersection_union(counts, void), *intersection_union(counts, void), right]
    background, foreground, answers = np.split(_sums_and_number((clusters,), (query[first],), values), [2, 4], -1)
    return replace(
        pair_statistics(frame, ways, class_ids, void),
        background=background,
        foreground=foreground,
        right=answers,
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
    where = query, _class_places(frame, keep, class_ids)
    values = [*intersection_union(counts, void), counts[:, COUNTS.index("gt")], _right_decisions(frame)[keep]]
    sums = _sums_and_number((clusters, len(class_ids)), where, values)
    decisions = sums[..., 3:]
    return ScoreStatistics(
        intersection=sums[..., 0],
        union=sums[..., 1],
        truth=sums[..., 2],
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
    where = query, _class_places(frame, keep, class_ids)
    return _sum_at((clusters, len(class_ids), *values.shape[1:]), where, values)


def query_numbers(frame: "pl.DataFrame", keep: np.ndarray) -> np.ndarray:
    """Return the number of each kept row's query image, as sums by query image have them."""
    return _queries(frame, keep)[1]


def _columns(frame: "pl.DataFrame", names: Sequence[str]) -> np.ndarray:
    """Stack columns side by side (rows, names); a query of polars would take longer than all that follows."""
    return np.column_stack([frame[name].to_numpy() for name in names])


def _right_decisions(frame: "pl.DataFrame") -> np.ndarray:
    """Return the rows (rows,) bool whose presence is decided rightly."""
    return np.asarray(frame["present"].to_numpy() == frame["decided"].to_numpy())


def _class_places(frame: "pl.DataFrame", keep: np.ndarray, class_ids: Sequence[int]) -> np.ndarray:
    """Return the place of each kept row's class among `class_ids`."""
    place = {number: i for i, number in enumerate(class_ids)}
    return np.array([place[number] for number in frame["class_id"].to_numpy()[keep].tolist()], dtype=int)


def _queries(frame: "pl.DataFrame", keep: np.ndarray | slice = slice(None)) -> tuple[int, np.ndarray]:
    """Return the number of distinct query images in the rows `keep`, and each row's, in the order of their names."""
    numbers = _query_numbers(frame)[keep]
    is_there = np.zeros(len(frame), dtype=bool)
    is_there[numbers] = True
    return int(is_there.sum()), (is_there.cumsum() - 1)[numbers]


def _query_numbers(frame: "pl.DataFrame") -> np.ndarray:
    """Number each row's query image in the order of names."""
    names = frame["query"].to_list()
    number_of = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([number_of[name] for name in names], dtype=int)


def _sum_at(shape: tuple[int, ...], where: tuple[np.ndarray, ...], values: np.ndarray) -> np.ndarray:
    """Sum `values` (rows, ...) at their places `where`, in order: int64, or float64 of real numbers."""
    width = prod(values.shape[1:])
    row = np.ravel_multi_index(where, shape[: len(where)])
    places = (row[:, None] * width + np.arange(width)).ravel()  # of one axis: several times as fast
    total = np.zeros(prod(shape), dtype=np.float64 if values.dtype.kind == "f" else np.int64)
    np.add.at(total, places, values.ravel())
    return total.reshape(shape)


def _sums_and_number(shape: tuple[int, ...], where: tuple[np.ndarray, ...], values: Sequence[np.ndarray]) -> np.ndarray:
    """Sum each of `values` (rows,), of whole numbers, at its places, and count the rows: `shape` (..., values + 1)."""
    table = np.column_stack([*values, np.ones(len(where[0]), dtype=np.int64)])
    return _sum_at((*shape, len(values) + 1), where, table)
