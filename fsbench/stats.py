"""Scores of a finished run with 95 % intervals: bootstrap over query images.

Episodes that share a query image are not independent (a PASCAL fold has 1000 episodes on 326 to 587 query images), so
whole query images are drawn. All scores are ratios of sums; a resample is a weight per query image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fsbench.counts import COUNTS, REGIONS, VoidPolicy, background_intersection_union, intersection_union
from fsbench.scores import Sums

if TYPE_CHECKING:
    import polars as pl

RESAMPLES = 2000
LEVEL = 0.95
AT_ONCE = 1000
"""Resamples in memory at a time: 4000 query images make 32 MB of weights."""
KEPT = 1 << 21
"""Draws of all resamples up to which they are kept for runs with as many query images; 64 of these are 128 MB."""


@dataclass(frozen=True)
class Interval:
    """A score and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def resampled_scores(sums: Sums, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, np.ndarray]:
    """Scores (R,) of bootstrap resamples of the query images; the same seed gives the same resamples."""
    return resampled_alike([sums], resamples, seed)[0]


def resampled_alike(several: Sequence[Sums], resamples: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Scores (R,) of each of `several`, which are about the same query images: every resample is that of all."""
    clusters = len(several[0].right)
    draw = _kept_weights if clusters * resamples <= KEPT else _weights
    drawn: list[list[dict[str, np.ndarray]]] = [[] for _ in several]
    for chunk in draw(clusters, resamples, seed):
        weights = chunk.astype(float, copy=False)
        for scores, sums in zip(drawn, several, strict=True):
            scores.append(sums.scores(weights))
    return [{name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]} for chunks in drawn]


def _weights(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of the clusters is drawn (AT_ONCE, clusters), until there are all resamples; one is never drawn
    256 times, of which the chance is 1 in 10^500."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        yield rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=size).astype(np.uint8)


@lru_cache(maxsize=64)
def _kept_weights(clusters: int, resamples: int, seed: int) -> list[np.ndarray]:
    """The same for many runs, and at once: drawing takes longer than all that follows."""
    weights = np.concatenate(list(_weights(clusters, resamples, seed)))
    return [weights.astype(float) if 8 * weights.size <= KEPT else weights]


def intervals(parts: list[Sums], resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Percentile intervals of the mean over `parts` (folds), each resampled by itself, of the scores that all have."""
    values, draws = _mean_scores(parts, resamples)
    ends = _ends(np.stack(list(draws.values()))) if draws else ()
    return {name: Interval(value, low, high) for (name, value), (low, high) in zip(values.items(), ends, strict=True)}


def differences(parts: list[Sums], others: list[Sums], resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Intervals of the mean score of `others` minus that of `parts`, two ways to score the same query images: both are
    resampled alike."""
    values, draws = _mean_scores(parts, resamples)
    other_values, other_draws = _mean_scores(others, resamples)
    return {
        name: interval(other_values[name] - values[name], other_draws[name] - draws[name])
        for name in values
        if name in other_values
    }


def _mean_scores(parts: list[Sums], resamples: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Means over `parts`: of their scores, and (R,) of their resampled scores."""
    values = [part.scores() for part in parts]
    draws = [resampled_scores(part, resamples, seed) for seed, part in enumerate(parts)]
    names = [name for name in values[0] if all(name in value for value in values)]
    means = {name: float(np.mean([value[name][0] for value in values])) for name in names}
    return means, {name: np.mean([draw[name] for draw in draws], 0) for name in names}


def interval(value: float, draws: np.ndarray) -> Interval:
    """Percentile interval of the draws (R,) around `value`."""
    ((low, high),) = _ends(draws[None])
    return Interval(value, low, high)


def _ends(draws: np.ndarray) -> list[tuple[float, float]]:
    """Ends of the percentile intervals of several scores' draws (scores, R)."""
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(draws, [tail, 100 - tail], -1)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def episode_sums(frame: "pl.DataFrame", class_ids: list[int], void: VoidPolicy) -> Sums:
    """Sums over whole episodes: every score of a run (fscs-protocol §7, fss-protocol §7)."""
    slot = frame["slot"].to_numpy()
    ways, first = slot > 0, slot == 0
    clusters, query = _queries(frame)
    counts = _columns(frame, COUNTS)[first]
    episode = frame["episode"].to_numpy()
    wrong = episode[ways][(frame["present"] != frame["decided"]).to_numpy()[ways]]
    right = ~np.isin(episode[first], wrong)

    def by_query(*values: np.ndarray) -> np.ndarray:
        return _add((clusters, len(values)), (query[first],), np.stack(values, 1))

    return replace(
        pair_sums(frame, ways, class_ids, void),
        background=by_query(*background_intersection_union(counts, void)),
        foreground=by_query(*intersection_union(counts, void)),
        right=by_query(right, np.ones_like(right)),
        absent_is_zero=True,
    )


def pair_sums(frame: "pl.DataFrame", keep: np.ndarray, class_ids: list[int], void: VoidPolicy) -> Sums:
    """Sums over the (episode, way) rows `keep` alone; accuracy is that of single decisions."""
    clusters, query = _queries(frame, keep)
    counts = _columns(frame, COUNTS)[keep]
    column = {number: i for i, number in enumerate(class_ids)}
    columns = np.array([column[number] for number in frame["class_id"].to_numpy()[keep]], dtype=int)
    shape, where = (clusters, len(class_ids)), (query, columns)
    intersection, union = intersection_union(counts, void)
    right = (frame["present"] == frame["decided"]).to_numpy()[keep]
    decisions = _add((*shape, 2), where, np.stack([right, np.ones_like(right)], 1))
    return Sums(
        intersection=_add(shape, where, intersection),
        union=_add(shape, where, union),
        truth=_add(shape, where, counts[:, COUNTS.index("gt")]),
        background=None,
        right=decisions.sum(1),
        absent_is_zero=False,
        decisions=decisions,
        regions=_region_sums(frame, keep, clusters, query),
    )


def _region_sums(frame: "pl.DataFrame", keep: np.ndarray, clusters: int, query: np.ndarray) -> np.ndarray | None:
    """See `Sums.regions`; None for records that were made before regions were measured."""
    if not set(REGIONS) <= set(frame.columns) or any(frame[name].has_nulls() for name in REGIONS):
        return None
    values = _columns(frame, REGIONS)[keep].astype(float)
    return _add((clusters, 3), (query,), np.column_stack([values, np.ones(len(values))]))


def _columns(frame: "pl.DataFrame", names: Sequence[str]) -> np.ndarray:
    """Columns side by side; a query of polars takes longer than all that follows."""
    return np.column_stack([frame[name].to_numpy() for name in names])


def _queries(frame: "pl.DataFrame", keep: np.ndarray | slice = slice(None)) -> tuple[int, np.ndarray]:
    """Number of distinct query images in the rows `keep`, and each row's."""
    names, index = np.unique(frame["query"].to_numpy()[keep], return_inverse=True)
    return len(names), index


def _add(shape: tuple[int, ...], where: tuple[np.ndarray, ...], values: np.ndarray) -> np.ndarray:
    """Sums of `values` at `where`: int64, or float64 of real numbers."""
    total = np.zeros(shape, dtype=np.float64 if values.dtype.kind == "f" else np.int64)
    np.add.at(total, where, values)
    return total
