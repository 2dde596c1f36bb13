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
    """What an interval covers: other queries and supports, these supports only, or nothing (§5)."""

    IMAGES = "images"
    """Other query images and other supports."""
    THESE_SUPPORTS = "these supports"
    """Other query images, and the same supports."""
    IDENTICAL = "identical"
    """Two methods whose counts are the same on these episodes."""
    NONE = "none"
    """There is no interval: nothing varies, or there are too few images."""


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of two, in points, with error, interval and p.

    Attributes:
        value: the score or difference.
        low, high: ends of its 95 % interval; NaN if there is none.
        scope: how far the interval reaches.
        error: its standard error.
        df: degrees of freedom of the error.
        p: of the test that a difference is 0, two-sided, for it alone; NaN of a score.
        variances: between query images, supports and cells of both: V_q, V_s and V_e (§3).
        queries: query images.
        supports: clusters of support images; 0 where the record names none.
        support_sets: disjoint support sets of a class (e in §2), mean over the classes; NaN where each row has one
            support, or its supports always come together.
        classes: classes that were left out one by one in place of supports, since `support_sets` are few; else 0.
        covers_trainings: whether the interval and the test hold for other trainings of the methods, too.
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
        """Whether there is an interval."""
        return self.low == self.low and self.high == self.high

    def reversed(self) -> "Estimate":
        """Return the difference with both methods exchanged."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def root(self) -> "Estimate":
        """Return the square root of a squared error; negative values and ends become 0."""
        value, low, high = (sqrt(max(end, 0.0)) if end == end else nan for end in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)


@dataclass(frozen=True)
class Difference:
    """Score of `method` minus that of `other`, in points, with both scores in `scores`."""

    method: str
    other: str
    scores: tuple[float, float]
    difference: Estimate


@dataclass(frozen=True, eq=False)
class Influences:
    """A score with the influence of each cluster of images: how far the score moves without it (§3).

    Attributes:
        value: the score.
        by_kind: kind of clusters (`Design.clusters`) -> (G,) influences.
    """

    value: float
    by_kind: Mapping[str, np.ndarray]

    def __sub__(self, other: "Influences") -> "Influences":
        by_kind = {kind: own - other.by_kind[kind] for kind, own in self.by_kind.items()}
        return Influences(self.value - other.value, by_kind)


def estimates(folds: Sequence[ScoreStatistics], fold_of: Sequence[int] | None = None) -> dict[str, Estimate]:
    """Estimate scores as means over folds of means over runs.

    Args:
        folds: statistics of each run.
        fold_of: number of each one's fold; each is a fold of its own when None.

    Returns:
        metric -> the score with its interval. A score is left out where there is nothing to average.
    """
    designs: list[Design] = []
    found = {}
    for metric in metrics_of_all(folds):
        test = MetricParts.from_statistics(metric, folds, fold_of)
        if not test.is_defined:
            continue
        design = design_of(test, designs)
        found[metric.name] = _score(test.influences(design), design, metric, folds)
    return found


def differences(
    methods: Mapping[str, Sequence[ScoreStatistics]],
    pairs: Sequence[tuple[str, str]],
    fold_of: Sequence[int] | None = None,
) -> dict[str, list[Difference]]:
    """Compare methods in pairs by their mean over folds.

    Args:
        methods: name -> statistics of each run; the rows of all methods are about the same query images in the same
            order. Where two have other supports, those of both act on their difference.
        pairs: (method, other) names.
        fold_of: see `estimates`.

    Returns:
        metric -> the difference of every pair that has the score; a method lacks it where there is nothing to average.
    """
    of_method = {name: {one.name: one for one in metrics_of_all(folds)} for name, folds in methods.items()}
    designs: list[Design] = []
    result: dict[str, list[Difference]] = {}
    for metric in {name: one for own in of_method.values() for name, one in own.items()}.values():
        every = {
            name: MetricParts.from_statistics(metric, methods[name], fold_of)
            for name, own in of_method.items()
            if metric.name in own
        }
        tests = {name: test for name, test in every.items() if test.is_defined}
        designs_of = {name: design_of(test, designs) for name, test in tests.items()}
        influences = {name: test.influences(designs_of[name]) for name, test in tests.items()}
        for method, other in pairs:
            if method not in tests or other not in tests:
                continue
            first, second, design = influences[method], influences[other], designs_of[method]
            if design is not designs_of[other]:
                design = design.joined(designs_of[other])
                first, second = (tests[name].influences(design) for name in (method, other))
            difference = conclude_metric(first - second, design, metric)
            scores = first.value, second.value
            result.setdefault(metric.name, []).append(Difference(method, other, scores, difference))
    return result


def gains(
    folds: Sequence[ScoreStatistics], others: Sequence[ScoreStatistics], fold_of: Sequence[int] | None = None
) -> dict[str, Estimate]:
    """Estimate the mean score of `others` minus that of `folds`, which score the same rows in two ways."""
    found = differences({"others": others, "folds": folds}, [("others", "folds")], fold_of)
    return {metric: one.difference for metric, (one,) in found.items()}


def mean_of_rows(values: np.ndarray, rows: Rows) -> Estimate:
    """Estimate the mean of one value (n,) per row, with the p of a test against 0."""
    sums = {"value": RowSum(np.stack([np.asarray(values, float), np.ones(len(values))], 1))}
    test = MetricParts.from_statistics(_Mean(), [ScoreStatistics(rows, sums, (_Mean(),), is_whole=False)])
    return conclude(test.influences(test.design), test.design)


def conclude(found: Influences, design: Design) -> Estimate:
    """Turn influences into an estimate with error, interval and p (§4, §5)."""
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
    """Turn influences into an estimate; without interval and p if the metric has none."""
    if not metric.has_interval:
        return Estimate(found.value, scope=Scope.NONE, queries=design.query_images)
    return conclude(found, design)


def share_ends(estimate: Estimate, answers: float) -> Estimate:
    """Give a share the interval of Clopper and Pearson at its effective size (§6: Korn, Graubard).

    Args:
        estimate: the share in percent.
        answers: their number.
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
    """A score as a mean over parts (runs within folds), with each part's fold.

    Attributes:
        metric: the score.
        parts: the runs.
        folds: (P,) number of each part's fold, from 0.
    """

    metric: Metric
    parts: Sequence[ScoredPart]
    folds: np.ndarray

    @classmethod
    def from_statistics(
        cls, metric: Metric, statistics: Sequence[ScoreStatistics], fold_of: Sequence[int] | None = None
    ) -> "MetricParts":
        """Collect the parts of a score from the statistics of runs; `fold_of` as in `estimates`."""
        numbers = range(len(statistics)) if fold_of is None else fold_of
        pairs = [(fold, part) for fold, one in zip(numbers, statistics, strict=True) for part in one.parts(metric)]
        folds = np.unique([fold for fold, _ in pairs], return_inverse=True)[1].ravel()
        return cls(metric, [part for _, part in pairs], folds)

    @cached_property
    def design(self) -> Design:
        """The images on which the score's rows depend."""
        return Design([part.rows for part in self.parts], self.folds.tolist())

    @cached_property
    def values(self) -> np.ndarray:
        """Score of each part (P,); NaN if there is nothing to average."""
        return np.array([part.value() for part in self.parts])

    @property
    def is_defined(self) -> bool:
        """Whether the mean over the parts is defined, see `Metric.is_defined`."""
        return self.metric.is_defined(self.values)

    def influences(self, design: Design, start: int = 0) -> Influences:
        """Compute the score and each cluster's influence on it.

        A figure that has no interval has no influences.

        Args:
            design: the design of these parts, or of more.
            start: the place of the first of these parts among those of the design.
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
        without = {kind: self._without(design, kind, start) for kind in design.clusters}
        return Influences(value, {kind: np.nan_to_num(value - own) for kind, own in without.items()})

    def _without(self, design: Design, kind: str, start: int) -> np.ndarray:
        """Compute the score (G,) without each cluster of a kind; NaN where nothing is left to average."""
        whole = self.values
        total, known = (np.repeat(sums, design.clusters[kind].number, 0) for sums in self._fold_sums(whole))
        for place, part in enumerate(self.parts):
            own, fold = design.by_part[kind][start + place], self.folds[place]
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


def metrics_of_all(statistics: Sequence[ScoreStatistics]) -> list[Metric]:
    """List the metrics that all these statistics have."""
    names = [{metric.name for metric in one.known_metrics} for one in statistics]
    return [metric for metric in statistics[0].known_metrics if all(metric.name in own for own in names)]


def design_of(test: MetricParts, known: list[Design]) -> Design:
    """Return a test's design, reusing an equal one in `known`; a new one is added."""
    for design in known:
        if design.is_alike(test.design):
            return design
    known.append(test.design)
    return test.design


def _score(found: Influences, design: Design, metric: Metric, statistics: Sequence[ScoreStatistics]) -> Estimate:
    return as_score(conclude_metric(found, design, metric), metric, statistics)


def as_score(estimate: Estimate, metric: Metric, statistics: Sequence[ScoreStatistics]) -> Estimate:
    """Limit an interval to the range of scores, and drop the p, which scores do not have.

    Args:
        estimate: the score.
        metric: the metric which it is.
        statistics: the rows that it is of.
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
