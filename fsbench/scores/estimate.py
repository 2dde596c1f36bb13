"""Scores and differences with their intervals and tests: the one procedure of all tables (statistics spec).

Each query image, each support and each cell of both is left out once; their influences give the variance between query
images, between supports and of images that are both, and Student's t with few degrees of freedom gives interval and
test. Nothing is drawn at random. An interval is for the mean score of tests like this one: other images, as many of
each class, of the same classes, and the same weights of the network.

Shapes: G clusters, F folds, P parts, which are the runs of folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from math import nan, sqrt
from statistics import NormalDist

import numpy as np

from fsbench.scores.clusters import Design
from fsbench.scores.distributions import beta_quantile, t_below, t_quantile
from fsbench.scores.metric import Metric, Sum, Totals
from fsbench.scores.rows import Rows, RowSum
from fsbench.scores.statistics import ScoredPart, ScoreStatistics

LEVEL = 0.95
FEW_QUERIES = 10
"""Query images below which there is no interval (§5)."""
FEW_FREE = 4
"""Free clusters below which a variance is not known (§5)."""
LEAST_DF = 1.5
"""Degrees of freedom that a variance has at least (§4.4)."""
ROUNDING = 1e-18
"""Variance of equal counts, whose influences differ by rounding alone (§5)."""


class Scope(StrEnum):
    """What may be replaced for a 95 % interval to hold: the query images, the supports, both of them, or nothing."""

    IMAGES = "images"
    """Other query images and other supports."""
    THESE_SUPPORTS = "these supports"
    """Other query images, and the same supports."""
    THESE_IMAGES = "these images"
    """Other draws of the test, from its images."""
    IDENTICAL = "identical"
    """Two methods whose counts are the same on these episodes."""
    NONE = "none"
    """There is no interval: nothing varies, or there are too few images."""


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of two scores, in points, with standard error, interval and p-value.

    Attributes:
        value: the score or difference.
        low, high: ends of its 95 % interval; NaN if there is none.
        scope: what the interval holds for: other images and supports, these supports only, or nothing (see `Scope`).
        error: standard error of the value.
        df: degrees of freedom of the standard error.
        p: two-sided p-value of the test that the difference is 0, not corrected for other comparisons; NaN for a score.
        variances: variance of the value between query images, between supports, and between cells (a query with its
            supports): V_q, V_s and V_e of statistics §3.
        queries: number of query images.
        supports: number of clusters of support images; 0 if the record does not name the supports.
        support_sets: number of disjoint support sets of a class (e in statistics §2), mean over classes; NaN if each
            row has one support, or supports that always occur together.
        classes: number of classes, which were left out one by one in place of supports because `support_sets` is small;
            else 0.
        covers_trainings: whether interval and p-value also hold for other trainings of the methods.
    """

    value: float
    low: float = nan
    high: float = nan
    scope: Scope = Scope.IMAGES
    error: float = nan
    df: float = nan
    p: float = nan
    variances: tuple[float, float, float] = (nan, nan, nan)
    queries: int = 0
    supports: int = 0
    support_sets: float = nan
    classes: int = 0
    covers_trainings: bool = False

    @property
    def has_interval(self) -> bool:
        """Whether the value has a 95 % interval: neither end is NaN."""
        return self.low == self.low and self.high == self.high

    def reversed(self) -> "Estimate":
        """Return the difference with the two methods exchanged: value and interval change their signs."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def root(self) -> "Estimate":
        """Return the square root of a squared error; negative values and ends become 0."""
        value, low, high = (sqrt(max(end, 0.0)) if end == end else nan for end in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)


@dataclass(frozen=True, eq=False)
class Influences:
    """A score with the influence of each cluster of images: the score minus the score without it (statistics §3).

    Attributes:
        value: the score, with all images.
        by_kind: {"query", "support" or "cell": (G,) influences of the G clusters of this kind}; see `Design.clusters`.
    """

    value: float
    by_kind: Mapping[str, np.ndarray]

    def __sub__(self, other: "Influences") -> "Influences":
        by_kind = {kind: own - other.by_kind[kind] for kind, own in self.by_kind.items()}
        return Influences(self.value - other.value, by_kind)


def mean_of_rows(values: np.ndarray, rows: Rows) -> Estimate:
    """Estimate the mean of one value (n,) per count-table row, with interval and the p-value of a test against 0."""
    sums = {"value": RowSum(np.stack([np.asarray(values, float), np.ones(len(values))], 1))}
    test = MetricParts.from_statistics(_Mean(), [ScoreStatistics(rows, sums, (_Mean(),), is_whole=False)])
    return conclude(test.influences(test.design), test.design)


def conclude(found: Influences, design: Design) -> Estimate:
    """Compute error, interval and p-value of a score from the influences of its images (statistics §4, §5)."""
    square = {kind: float((own**2).sum()) for kind, own in found.by_kind.items()}
    vq, vs, ve = square["query"], square.get("support", 0.0), square["cell"]
    estimate = Estimate(
        found.value,
        scope=Scope.NONE,
        variances=(vq, vs, ve),
        queries=design.query_images,
        supports=design.supports,
        support_sets=design.support_sets,
        classes=design.clusters["support"].number if design.has_few_sets else 0,
    )
    if vq + vs < ROUNDING:
        return replace(estimate, scope=Scope.IDENTICAL) if found.value == 0 else estimate
    if design.query_images < FEW_QUERIES or design.free["query"] < FEW_FREE:
        return estimate
    df = {
        kind: max(min(2 * square[kind] ** 2 / max(float((found.by_kind[kind] ** 4).sum()), 1e-300) - 1, free), LEAST_DF)
        for kind, free in design.free.items()
    }
    if design.queries_of_row > 1:  # a row is in several query images' sums, as it is in several supports'
        vq = ve + max(vq - design.queries_of_row * ve, 0.0)
    is_conditional = design.free.get("support", 0) < FEW_FREE
    of_supports = shared = spread = 0.0
    if not is_conditional:
        of_supports, shared = _support_variance(design, vs, ve, df["support"]), _shared_variance(found, design, ve)
        spread = min(of_supports, vs) * vs / df["support"] + shared**2 / min(df.values())
    variance = vq + of_supports + shared
    if variance < ROUNDING:  # whatever query image is left out, and the supports are too few to tell
        return estimate
    nu = variance**2 / (vq**2 / df["query"] + spread)
    error, half = sqrt(variance), t_quantile(0.5 + LEVEL / 2, nu) * sqrt(variance)
    return replace(
        estimate,
        low=found.value - half,
        high=found.value + half,
        scope=Scope.THESE_SUPPORTS if is_conditional else Scope.IMAGES,
        error=error,
        df=nu,
        p=2 * t_below(-abs(found.value) / error, nu),
    )


def _support_variance(design: Design, vs: float, ve: float, df: float) -> float:
    """Return the supports' part of the variance: what is between supports without what single episodes add (§4.2).

    Where rows have several supports this is the difference of two large numbers. It is taken to be at least a quarter
    of what chance makes of V_s, whose degrees of freedom are `df`.
    """
    c, phi = design.constants
    least = vs / (4 * sqrt(df)) if design.supports_of_row != 1 else 0.0
    return phi * max(vs - c * ve, least)


def _shared_variance(found: Influences, design: Design, ve: float) -> float:
    """Return the part of images that are query in some rows and support in others, twice a covariance (§4.2)."""
    clusters, a = design.roles
    query, support = found.by_kind["query"][clusters[:, 0]], found.by_kind["support"][clusters[:, 1]]
    return 2 * max(float((query * support).sum()) + a * ve, 0.0)


def conclude_metric(found: Influences, design: Design, metric: Metric) -> Estimate:
    """Compute error, interval and p-value of a score from its influences; without them for a metric that has none."""
    if not metric.has_interval:
        return Estimate(found.value, scope=Scope.NONE, queries=design.query_images)
    return conclude(found, design)


def share_ends(estimate: Estimate, answers: float) -> Estimate:
    """Replace the interval of a share by that of Clopper and Pearson for its effective sample size (statistics §6).

    Args:
        estimate: the share in percent, such as an accuracy, with its standard error.
        answers: number of answers of which it is the share.
    """
    share = min(max(estimate.value / 100, 0.0), 1.0)
    images = min(filter(None, (estimate.queries, estimate.classes or estimate.supports)), default=0)
    if images < FEW_QUERIES or (estimate.scope is Scope.NONE and 0 < share < 1):
        return replace(estimate, low=nan, high=nan)
    size = float(images)
    if estimate.error > 0:
        size = min(share * (1 - share) / (estimate.error / 100) ** 2, answers)
        size *= (NormalDist().inv_cdf(0.5 + LEVEL / 2) / t_quantile(0.5 + LEVEL / 2, estimate.df)) ** 2
    right, wrong, tail = size * share, size * (1 - share), 0.5 - LEVEL / 2
    low = beta_quantile(tail, right, wrong + 1) if share > 0 else 0.0
    high = beta_quantile(1 - tail, right + 1, wrong) if share < 1 else 1.0
    scope = estimate.scope
    if scope is Scope.NONE:
        scope = Scope.IMAGES if estimate.supports else Scope.THESE_SUPPORTS
    return replace(estimate, low=100 * low, high=100 * high, scope=scope)


@dataclass(frozen=True, eq=False)
class MetricParts:
    """A score that is the mean over folds of its value in parts: the runs of each fold.

    Attributes:
        metric: the metric of the score.
        parts: P sets of count-table rows, one for each run, with the sums that the metric needs.
        folds: (P,) number, from 0, of the fold to which each part belongs.
    """

    metric: Metric
    parts: Sequence[ScoredPart]
    folds: np.ndarray

    @classmethod
    def from_statistics(
        cls, metric: Metric, statistics: Sequence[ScoreStatistics], fold_of: Sequence[int] | None = None
    ) -> "MetricParts":
        """Collect the parts of a score from the statistics of runs, all of which have the score.

        Args:
            metric: the metric of the score.
            statistics: sums over the count table of each run.
            fold_of: number of the fold of each run; None if each run is a fold of its own.
        """
        of_runs = range(len(statistics)) if fold_of is None else fold_of
        pairs = [(fold, part) for fold, one in zip(of_runs, statistics, strict=True) for part in one.parts(metric)]
        return cls(metric, [part for _, part in pairs], np.array(numbered([fold for fold, _ in pairs])))

    @cached_property
    def design(self) -> Design:
        """The images on which the score's rows depend."""
        return Design([part.rows for part in self.parts], self.folds.tolist())

    @cached_property
    def values(self) -> np.ndarray:
        """Score of each part (P,); NaN if there is nothing to average."""
        return np.array([part.value for part in self.parts])

    @property
    def is_defined(self) -> bool:
        """Whether the mean over the parts is defined, by the metric's own rule (`Metric.is_defined`)."""
        return self.metric.is_defined(self.values)

    def influences(self, design: Design, start: int = 0) -> Influences:
        """Compute the score, and the influence on it of each cluster of images.

        A metric without interval (`Metric.has_interval`) has no influences.

        Args:
            design: the rows and images of these parts, perhaps with further parts.
            start: index of the first of these parts among the parts of `design`.
        """
        value = float(_mean(*self._fold_sums(self.values))[0])
        if not self.metric.has_interval:
            return Influences(value, {})
        rows = self._row_influences()
        if rows is not None:
            every = np.zeros(design.rows)
            every[design.starts[start] : design.starts[start + len(self.parts)]] = rows
            return Influences(
                value, {kind: np.bincount(g.group, every[g.row], g.number) for kind, g in design.clusters.items()}
            )
        moved = np.nan_to_num(value - self._without(design, start))
        ends = np.cumsum([groups.number for groups in design.clusters.values()])
        return Influences(value, dict(zip(design.clusters, np.split(moved, ends[:-1]), strict=True)))

    def _without(self, design: Design, start: int) -> np.ndarray:
        """Compute the score (G,) without each cluster of all kinds; NaN where nothing is left to average."""
        whole = self.values
        total, known = (np.repeat(sums, design.every_cluster.number, 0) for sums in self._fold_sums(whole))
        for place, part in enumerate(self.parts):
            own, fold = design.by_part[start + place], self.folds[place]
            without = np.where(own.leaves_rows, part.values_without(own.groups), nan)
            total[own.cluster, fold] += np.nan_to_num(without) - np.nan_to_num(whole[place])
            known[own.cluster, fold] += np.isfinite(without).astype(int) - int(np.isfinite(whole[place]))
        return _mean(total, known)

    def _row_influences(self) -> np.ndarray | None:
        """Return the influence (n,) of each row on a score that is not computed anew without rows; None of others."""
        of_parts = [self.metric.row_influences(part.sums) for part in self.parts]
        known = self._fold_sums(self.values)[1][0]
        weights = 1 / (np.maximum(known, 1)[self.folds] * max(np.count_nonzero(known), 1))
        weighted = [weight * own for weight, own in zip(weights, of_parts, strict=True) if own is not None]
        return np.concatenate(weighted) if len(weighted) == len(self.parts) else None

    def _fold_sums(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add up the finite values (P,) of each fold, and count them: two arrays (1, F)."""
        known = np.isfinite(values)
        total, number = (np.bincount(self.folds, own) for own in (np.where(known, values, 0), known))
        return total[None], number[None].astype(int)


def numbered(folds: Sequence[int]) -> list[int]:
    """Return the place of each fold among the distinct ones, from 0.

    >>> numbered([2, 5, 2])
    [0, 1, 0]
    """
    distinct = sorted(set(folds))
    return [distinct.index(fold) for fold in folds]


def as_score(estimate: Estimate, metric: Metric, statistics: Sequence[ScoreStatistics]) -> Estimate:
    """Return the estimate of a score, limited to the metric's range and without a p-value.

    A share, such as an accuracy, gets the interval of Clopper and Pearson. A squared error keeps its p-value.

    Args:
        estimate: the score with its interval.
        metric: the metric of the score.
        statistics: sums over the count tables from which the score was computed.
    """
    if not metric.is_squared_error:
        estimate = replace(estimate, p=nan)
    if metric.share is not None:
        answers = sum(one.sums[metric.share.name].total()[..., -1].sum() for one in statistics)
        return share_ends(estimate, float(answers))
    if not estimate.has_interval:
        return estimate
    return replace(estimate, low=max(estimate.low, metric.minimum), high=min(estimate.high, metric.maximum))


def _mean(total: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Average over the folds (R, F) that have something, of the mean over what each has; NaN where none has."""
    there = known > 0
    mean = np.where(there, total / np.maximum(known, 1), 0).sum(1)
    return np.where(there.any(1), mean / np.maximum(there.sum(1), 1), nan)


class _Mean(Metric):
    name = "mean"
    meaning = "mean of one value a row"
    sums = (Sum("value", None),)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        value, number = totals["value"].T
        return value / np.maximum(number, 1)
