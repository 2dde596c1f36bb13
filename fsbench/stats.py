"""Scores of a finished run with 95 % intervals: bootstrap over query images.

Episodes that share a query image are not independent (a PASCAL fold has 1000 episodes on 326 to 587 query images), so
whole query images are drawn. All scores are ratios of sums; a resample is a weight per query image.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fsbench.metrics import (
    COUNTS,
    VoidPolicy,
    background_intersection_union,
    fb_iou,
    intersection_union,
    mean_iou,
)

if TYPE_CHECKING:
    import polars as pl

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A score in percent and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sums:
    """What scores are made of, summed by query image (first axis Q); classes on the second axis C.

    Attributes:
        intersection, union: (Q, C) pixels of the ways.
        background: (Q, 2) intersection and union of the background.
        right: (Q, 2) episodes (or single decisions) that are right, and all.
        absent_is_zero: a class that the run never shows counts as IoU 0 (the protocol's rule for a whole run);
            otherwise it is left out of the mean (parts of a run).
    """

    intersection: np.ndarray
    union: np.ndarray
    background: np.ndarray
    right: np.ndarray
    absent_is_zero: bool = True

    def scores(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Scores (R,) in percent for weights (R, Q) of the query images; all ones when None."""
        weights = np.ones((1, len(self.right))) if weights is None else weights
        arrays = (self.intersection, self.union, self.background, self.right)
        i, u, b, r = (weights @ array.astype(float) for array in arrays)
        return {
            "mIoU": self._mean_iou(i, u),
            "FB-IoU": fb_iou(i, u, (b[:, 0], b[:, 1])),
            "accuracy": 100 * r[:, 0] / np.maximum(r[:, 1], 1e-9),
        }

    def _mean_iou(self, i: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Class sums (R, C) -> mIoU (R,). A class that only a resample happens to miss is left out of its mean."""
        never = int((self.union.sum(0) == 0).sum()) if self.absent_is_zero else 0
        counted = (u > 0).sum(-1) + never
        return mean_iou(i, u) * i.shape[-1] / np.maximum(counted, 1)


def resampled_scores(sums: Sums, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, np.ndarray]:
    """Scores (R,) of bootstrap resamples of the query images; the same seed gives the same resamples."""
    clusters = len(sums.right)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(float)
    return sums.scores(weights)


def intervals(parts: list[Sums], resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Percentile intervals of the mean over `parts` (folds), each resampled by itself."""
    values = [part.scores() for part in parts]
    draws = [resampled_scores(part, resamples, seed) for seed, part in enumerate(parts)]
    tail = 50 * (1 - LEVEL)
    result = {}
    for name in values[0]:
        mean = float(np.mean([value[name][0] for value in values]))
        low, high = np.percentile(np.mean([draw[name] for draw in draws], 0), [tail, 100 - tail])
        result[name] = Interval(mean, float(low), float(high))
    return result


def episode_sums(frame: "pl.DataFrame", class_ids: list[int], void: VoidPolicy) -> Sums:
    """Sums over whole episodes: mIoU, FB-IoU and exact-match accuracy of a run (fscs-protocol §7)."""
    clusters, query = _queries(frame)
    slot = frame["slot"].to_numpy()
    counts = frame.select(COUNTS).to_numpy()
    ways, first = slot > 0, slot == 0
    column = {number: i for i, number in enumerate(class_ids)}
    columns = np.array([column[number] for number in frame["class_id"].to_numpy()[ways]])
    intersection, union = intersection_union(counts[ways], void)
    background = np.stack(background_intersection_union(counts[first], void), 1)

    episode = frame["episode"].to_numpy()
    wrong = episode[ways][(frame["present"] != frame["decided"]).to_numpy()[ways]]
    right = ~np.isin(episode[first], wrong)
    shape = (clusters, len(class_ids))
    return Sums(
        _add(shape, (query[ways], columns), intersection),
        _add(shape, (query[ways], columns), union),
        _add((clusters, 2), (query[first],), background),
        _add((clusters, 2), (query[first],), np.stack([right, np.ones_like(right)], 1)),
    )


def pair_sums(frame: "pl.DataFrame", keep: np.ndarray, class_ids: list[int], void: VoidPolicy) -> Sums:
    """Sums over the (episode, way) rows `keep` alone; accuracy is that of single decisions. The background has no
    meaning here and is zero."""
    clusters, query = _queries(frame, keep)
    counts = frame.select(COUNTS).to_numpy()[keep]
    column = {number: i for i, number in enumerate(class_ids)}
    columns = np.array([column[number] for number in frame["class_id"].to_numpy()[keep]], dtype=int)
    intersection, union = intersection_union(counts, void)
    right = (frame["present"] == frame["decided"]).to_numpy()[keep]
    shape = (clusters, len(class_ids))
    return Sums(
        _add(shape, (query, columns), intersection),
        _add(shape, (query, columns), union),
        np.zeros((clusters, 2)),
        _add((clusters, 2), (query,), np.stack([right, np.ones_like(right)], 1)),
        absent_is_zero=False,
    )


def _queries(frame: "pl.DataFrame", keep: np.ndarray | slice = slice(None)) -> tuple[int, np.ndarray]:
    """Number of distinct query images in the rows `keep`, and each row's."""
    names, index = np.unique(frame["query"].to_numpy()[keep], return_inverse=True)
    return len(names), index


def _add(shape: tuple[int, ...], where: tuple[np.ndarray, ...], values: np.ndarray) -> np.ndarray:
    total = np.zeros(shape, dtype=np.int64)
    np.add.at(total, where, values)
    return total
