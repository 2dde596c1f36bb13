"""Means over several trainings of a method, with an interval for another training as well (statistics spec §13).

All trainings of a method answer the same episodes. What trainings add to the variance of the images is taken from the
spread of their scores, without the part of it that is in the variance of the images already.

Shapes: P parts, S trainings of a part, G clusters of a kind.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from math import exp, log, nan, sqrt

import numpy as np

from fsbench.scores.clusters import Design
from fsbench.scores.distributions import t_below, t_exceeded
from fsbench.scores.estimate import (
    LEVEL,
    Estimate,
    Influences,
    MetricParts,
    Scope,
    as_score,
    conclude_metric,
    numbered,
)
from fsbench.scores.metric import Metric
from fsbench.scores.statistics import ScoreStatistics

KINDS = ("query", "support", "cell")


class Reach(StrEnum):
    """What an interval says about other trainings of the method (statistics §13.3)."""

    OTHER = "other trainings"
    """It holds for another training, too."""
    THESE = "these trainings"
    """Most parts have one training: nothing is said of another."""
    UNTRAINED = "no training"
    """The method is not trained."""

    @property
    def words(self) -> str:
        """Words in place of a missing interval for other trainings."""
        return "one training" if self is Reach.THESE else str(self)


def ranked_together(reaches: Mapping[str, Reach]) -> dict[str, Reach]:
    """Return, for each method, what its interval must say about other trainings to be ranked with this method.

    A method without training is ranked with those whose intervals say most: about other trainings, if any do
    (statistics §13.6).

    >>> ranked_together({"a": Reach.OTHER, "b": Reach.THESE, "c": Reach.UNTRAINED})["c"]
    <Reach.OTHER: 'other trainings'>
    """
    widest = next((reach for reach in Reach if reach in reaches.values()), Reach.UNTRAINED)
    return {name: widest if reach is Reach.UNTRAINED else reach for name, reach in reaches.items()}


@dataclass(frozen=True, eq=False)
class TrainedPart:
    """Folds that are predicted by the same trained weights: one fold, or all folds.

    Attributes:
        trainings: for each training (seed) the statistics of its runs on these folds; all trainings have the same rows.
        folds: for each run in a training the number of its fold.
    """

    trainings: Sequence[Sequence[ScoreStatistics]]
    folds: Sequence[int]


@dataclass(frozen=True, eq=False)
class Trained:
    """Statistics of a method on one test, with all its trainings (seeds).

    Attributes:
        parts: folds, or groups of folds, that the same weights predict; the same parts in the same order for all
            methods.
        is_free: whether the method is not trained, so that it predicts the same with every seed.
    """

    parts: Sequence[TrainedPart]
    is_free: bool = False

    @classmethod
    def once(cls, runs: Sequence[ScoreStatistics], folds: Sequence[int] | None = None) -> "Trained":
        """Return the statistics of a method with one training.

        Args:
            runs: statistics of the method's runs.
            folds: number of the fold of each run; None if each run is a fold of its own.
        """
        return cls([TrainedPart([runs], range(len(runs)) if folds is None else folds)])

    @property
    def first(self) -> list[ScoreStatistics]:
        """Statistics of the first training of every part."""
        return [one for part in self.parts for one in part.trainings[0]]

    @property
    def metrics(self) -> list[Metric]:
        """Metrics that all trainings of all parts have."""
        runs = [one for part in self.parts for training in part.trainings for one in training]
        names = [{metric.name for metric in one.known_metrics} for one in runs]
        return [metric for metric in runs[0].known_metrics if all(metric.name in own for own in names)]

    def tests(self, metric: Metric) -> list[list[MetricParts]]:
        """Return a score of each part, by each of its trainings."""
        return [
            [MetricParts.from_statistics(metric, runs, part.folds) for runs in part.trainings] for part in self.parts
        ]


@dataclass(frozen=True)
class Spread:
    """How much the scores of a method's trainings differ, to tell how another training may score (statistics §13.2).

    Attributes:
        reach: whether the spread tells of other trainings ("other trainings"), there are too few ("these trainings"),
            or the method is not trained ("no training").
        scores: for each part (folds predicted by the same weights) the score of each training.
        sd: standard deviation of the score over trainings, one training for each part; NaN if unknown.
        terms: (contribution to the variance, degrees of freedom) of each part that has several trainings.
        overlap: the share of `terms`, as a variance, that the variance between images contains already.
        borrowed: indices of the parts with one training, for which the spread of the other parts is used.
    """

    reach: Reach
    scores: Sequence[Sequence[float]]
    sd: float = nan
    terms: Sequence[tuple[float, int]] = ()
    overlap: float = 0.0
    borrowed: Sequence[int] = ()

    @property
    def number(self) -> str:
        """Number of trainings as text: "3", or "3,3,2" if parts differ; "" if nothing is trained."""
        counts = [str(len(own)) for own in self.scores]
        return "" if self.reach is Reach.UNTRAINED else counts[0] if len(set(counts)) == 1 else ",".join(counts)


@dataclass(frozen=True)
class TrainedEstimate:
    """A mean over trainings, or a difference of two means, with an interval for these and one for other trainings.

    Attributes:
        these: the estimate with the interval for other images and these trainings.
        other: the estimate with the interval for other images and other trainings; None if there are too few trainings
            for it.
        spreads: the spread over trainings of the method, or of both methods; a single one if both have the same
            weights.
        variance: the variance of the value between trainings; NaN if `other` is None.
        df: degrees of freedom of `variance`.
        is_rough: whether there are only two trainings in all, so that the spread is based on one number; the variance
            is then doubled.
        p_family: p-value of a difference that is used to correct several differences together.
    """

    these: Estimate
    other: Estimate | None = None
    spreads: Sequence[Spread] = field(default=())
    variance: float = nan
    df: float = nan
    is_rough: bool = False
    p_family: float = nan

    @property
    def widest(self) -> Estimate:
        """The estimate that covers most: `other` (other trainings) if it is known, else `these`."""
        return self.other or self.these

    @property
    def numbers(self) -> list[str]:
        """Number of trainings of one or both methods: "3", or by part "3,3,2"; "" if none."""
        return [spread.number for spread in self.spreads]

    @property
    def values(self) -> list[float]:
        """Score of each training if the same weights predict all folds, or there is one fold; else an empty list."""
        parts = self.spreads[0].scores
        return list(parts[0]) if len(parts) == 1 else []

    @property
    def is_borrowed(self) -> bool:
        """Whether a part (fold) with one training uses the spread over trainings of the other parts."""
        return self.other is not None and any(spread.borrowed for spread in self.spreads)

    def each(self, change: Callable[[Estimate], Estimate]) -> "TrainedEstimate":
        """Return a copy with both estimates changed by a function; they stay one where they are one."""
        these = change(self.these)
        return replace(
            self, these=these, other=these if self.other is self.these else self.other and change(self.other)
        )

    def root(self) -> "TrainedEstimate":
        """Return the square root of a squared error, without the spread of trainings."""
        spreads = [
            replace(one, scores=[[sqrt(max(x, 0.0)) for x in own] for own in one.scores], sd=nan)
            for one in self.spreads
        ]
        return replace(self.each(Estimate.root), spreads=spreads)

    def reversed(self) -> "TrainedEstimate":
        """Return the difference with both methods exchanged."""
        return replace(self.each(Estimate.reversed), spreads=self.spreads[::-1])

    @property
    def reach(self) -> Reach | Scope:
        """What the interval of `widest` says about other trainings; the scope of the interval if there is none."""
        reaches = {spread.reach for spread in self.spreads}
        if Reach.THESE in reaches:
            return Reach.THESE
        if self.these.scope in (Scope.NONE, Scope.IDENTICAL):
            return self.these.scope
        return Reach.UNTRAINED if reaches == {Reach.UNTRAINED} else Reach.OTHER


@dataclass(frozen=True)
class Difference:
    """Difference of two methods in a metric: score of `method` minus that of `other`, in points; `scores` has both."""

    method: str
    other: str
    scores: tuple[float, float]
    difference: TrainedEstimate


@dataclass(frozen=True, eq=False)
class _Part:
    """A part whose trainings all have the score.

    Attributes:
        weight: its share of the folds that have the score.
        scores: (S,) of the trainings.
        by_kind: kind of clusters -> (S, G) influences on the scores.
    """

    weight: float
    scores: np.ndarray
    by_kind: Mapping[str, np.ndarray]

    def __sub__(self, other: "_Part") -> "_Part":
        by_kind = {kind: own - other.by_kind[kind] for kind, own in self.by_kind.items()}
        return replace(self, scores=self.scores - other.scores, by_kind=by_kind)


@dataclass(frozen=True, eq=False)
class _Scored:
    """A score of a method, for a difference with each other method.

    Attributes:
        parts: the parts whose trainings all have the score; empty if their mean is not defined.
        is_free: whether the method is not trained.
        design: images that the rows of all parts depend on.
    """

    parts: Sequence[_Part]
    is_free: bool
    design: Design
    _spreads: dict[Scope, Spread] = field(default_factory=dict, init=False)

    @cached_property
    def mean(self) -> Influences:
        """Mean over trainings and parts, and the influences on it."""
        return _mean(self.parts)

    def spread(self, scope: Scope) -> Spread:
        """Return what the trainings say of another one; `scope` is that of the images' interval."""
        if scope not in self._spreads:
            self._spreads[scope] = _spread(self.parts, self.is_free, self.design, scope)
        return self._spreads[scope]


def estimates(trained: Trained, designs: list[Design] | None = None) -> dict[str, TrainedEstimate]:
    """Return {metric: mean over a method's trainings, with its intervals}.

    A metric that has no value (nothing to average) is left out.

    Args:
        trained: statistics of the method's trainings.
        designs: designs of earlier calls, which are used for the same rows; new ones are added.
    """
    designs = [] if designs is None else designs
    found = {}
    for metric in trained.metrics:
        scored = _scored(trained, metric, designs)
        if scored.parts:
            found[metric.name] = _score(scored, trained, metric)
    return found


def differences(
    methods: Mapping[str, Trained],
    pairs: Sequence[tuple[str, str]],
    same_weights: Callable[[str, str], bool] = lambda method, other: False,
    metrics: Sequence[str] | None = None,
) -> dict[str, list[Difference]]:
    """Compare methods in pairs by their means over trainings.

    Args:
        methods: {name: statistics of the method's trainings}; the rows of all methods are about the same query images
            in the same order. If two methods have other supports, their difference depends on the supports of both.
        pairs: (method, other) names; the other's score is subtracted.
        same_weights: takes two names and returns whether training s of both methods has the same weights, as for two
            thresholds of one network; their trainings are then compared one by one.
        metrics: names of the scores to compare; None for all.

    Returns:
        {metric: difference of each pair in which both methods have the score}; a method lacks a score if there is
        nothing to average.
    """
    of_method = {name: {one.name: one for one in trained.metrics} for name, trained in methods.items()}
    designs: list[Design] = []
    result: dict[str, list[Difference]] = {}
    known = {name: one for own in of_method.values() for name, one in own.items()}
    for metric in (one for name, one in known.items() if metrics is None or name in metrics):
        having = [name for name, own in of_method.items() if metric.name in own]
        every = {name: _scored(methods[name], metric, designs) for name in having}
        for method, other in pairs:
            first, second = every.get(method), every.get(other)
            if not (first and first.parts and second and second.parts):
                continue
            if first.design is not second.design:
                joined = first.design.joined(second.design)
                first, second = (_scored(methods[name], metric, designs, joined) for name in (method, other))
            found = _difference(first, second, metric, same_weights(method, other))
            scores = first.mean.value, second.mean.value
            result.setdefault(metric.name, []).append(Difference(method, other, scores, found))
    return result


def _score(scored: _Scored, trained: Trained, metric: Metric) -> TrainedEstimate:
    these = conclude_metric(scored.mean, scored.design, metric)
    found = _with_trainings(these, [scored.spread(these.scope)])
    p = found.widest.p if metric.is_squared_error else nan
    return replace(found.each(lambda one: as_score(one, metric, trained.first)), p_family=p)


def _difference(first: _Scored, second: _Scored, metric: Metric, same_weights: bool) -> TrainedEstimate:
    """Subtract the mean over trainings of the second from that of the first."""
    if same_weights:
        parts = [own - its for own, its in zip(first.parts, second.parts, strict=True)]
        beyond = replace(first, parts=parts)
        these = conclude_metric(beyond.mean, first.design, metric)
        return _with_trainings(these, [beyond.spread(these.scope)])
    these = conclude_metric(first.mean - second.mean, first.design, metric)
    return _with_trainings(these, [one.spread(these.scope) for one in (first, second)])


def _scored(trained: Trained, metric: Metric, designs: list[Design], joined: Design | None = None) -> _Scored:
    """Return a method's score; `joined` is a design of further supports, in place of its own (see `_design`)."""
    tests = trained.tests(metric)
    design = joined or _design(trained, tests, designs)
    return _Scored(_parts(tests, design), trained.is_free, design)


def _design(trained: Trained, tests: Sequence[Sequence[MetricParts]], known: list[Design]) -> Design:
    """Return the images that the rows depend on, or the design of `known` that is the same; a new one is added."""
    first = [several[0] for several in tests]
    folds = [sorted(set(part.folds))[n] for part, one in zip(trained.parts, first, strict=True) for n in one.folds]
    own = Design([part.rows for one in first for part in one.parts], numbered(folds))
    for design in known:
        if design.is_alike(own):
            return design
    known.append(own)
    return own


def _parts(tests: Sequence[Sequence[MetricParts]], design: Design) -> list[_Part]:
    """Return the parts of which all trainings have the score, with the influences of the clusters of the whole test.

    None if their mean over the first trainings is not defined.
    """
    start, found = 0, []
    metric = tests[0][0].metric
    if not metric.is_defined(np.concatenate([several[0].values for several in tests])):
        return []
    for several in tests:
        if all(test.is_defined for test in several):
            influences = [test.influences(design, start) for test in several]
            by_kind = {kind: np.stack([own.by_kind[kind] for own in influences]) for kind in influences[0].by_kind}
            scored = len(np.unique(several[0].folds[np.isfinite(several[0].values)]))
            found.append(_Part(scored, np.array([own.value for own in influences]), by_kind))
        start += len(several[0].parts)
    folds = sum(part.weight for part in found)
    return [replace(part, weight=part.weight / folds) for part in found]


def _mean(parts: Sequence[_Part]) -> Influences:
    """Return the mean over trainings and parts, and the influences on it."""
    value = float(sum(part.weight * part.scores.mean() for part in parts))
    kinds = parts[0].by_kind
    return Influences(value, {kind: sum(part.weight * part.by_kind[kind].mean(0) for part in parts) for kind in kinds})


def _spread(parts: Sequence[_Part], is_free: bool, design: Design, scope: Scope) -> Spread:
    """Return what the trainings of a method say of another one; `scope` is that of the images' interval."""
    scores = [part.scores.tolist() for part in parts]
    if is_free:
        return Spread(Reach.UNTRAINED, scores, 0.0)
    several = [part for part in parts if len(part.scores) > 1]
    if 2 * len(several) < len(parts):
        return Spread(Reach.THESE, scores)
    free = sum(len(part.scores) - 1 for part in several)
    single = [part for part in parts if len(part.scores) == 1]
    lent = sum(part.weight**2 for part in single) / free
    pooled = sum(((part.scores - part.scores.mean()) ** 2).sum() for part in several) / free
    variance = pooled * sum(part.weight**2 for part in single)
    terms = []
    squares, product = dict.fromkeys(KINDS, 0.0), 0.0
    both = design.roles[0]
    for part in several:
        count = len(part.scores)
        own = float(part.scores.var(ddof=1))
        variance += part.weight**2 * own
        terms.append(((part.weight**2 / count + lent * (count - 1)) * own, count - 1))
        of_mean = part.weight**2 / (count * (count - 1))
        beyond = {kind: values - values.mean(0) for kind, values in part.by_kind.items()}
        for kind, values in beyond.items():
            squares[kind] += of_mean * float((values**2).sum())
        if len(both) and beyond:  # a figure without interval has no influences
            pairs = beyond["query"][:, both[:, 0]] * beyond["support"][:, both[:, 1]]
            product += of_mean * float(pairs.sum())
    borrowed = [place for place, part in enumerate(parts) if len(part.scores) == 1]
    overlap = _overlap(squares, product, design, scope)
    return Spread(Reach.OTHER, scores, sqrt(variance), terms, overlap, borrowed)


def _overlap(squares: Mapping[str, float], product: float, design: Design, scope: Scope) -> float:
    """Return the variance that trainings and images have in common, from sums of squares by kind and of products.

    It is made as the variance of the images is (§4.2), but without the floor of the supports' part: a floor would take
    more away.
    """
    of_queries, of_cells = squares["query"], squares["cell"]
    if design.queries_of_row > 1:  # as in the variance of the images
        of_queries = of_cells + max(of_queries - design.queries_of_row * of_cells, 0.0)
    if scope is Scope.THESE_SUPPORTS:
        return of_queries
    (c, phi), (_, a) = design.constants, design.roles
    return of_queries + phi * max(squares["support"] - c * of_cells, 0.0) + 2 * max(product + a * of_cells, 0.0)


def _with_trainings(these: Estimate, spreads: Sequence[Spread]) -> TrainedEstimate:
    """Widen the interval for these trainings to one for another training, where the trainings tell it (§13.2)."""
    found = TrainedEstimate(these, None, spreads, p_family=these.p)
    if found.reach is Reach.UNTRAINED:
        return replace(found, other=these, variance=0.0)
    if found.reach is not Reach.OTHER:
        return found
    terms = [term for spread in spreads for term in spread.terms]
    of_trainings = sum(variance for variance, _ in terms)
    df_trainings = of_trainings**2 / max(sum(variance**2 / df for variance, df in terms), 1e-300)
    least = max(df_trainings, 1.0)
    is_rough = sum(df for _, df in terms) == 1
    of_trainings *= 2 if is_rough else 1
    variance = these.error**2 + max(of_trainings - sum(spread.overlap for spread in spreads), 0.0)
    share = min(of_trainings / variance, 1.0)
    error, df = sqrt(variance), 1 / ((1 - share) / these.df + share / least)
    half, p = t_exceeded(0.5 - LEVEL / 2, df) * error, 2 * t_below(-abs(these.value) / error, df)
    ends = these.value - half, these.value + half
    other = replace(these, error=error, df=df, low=ends[0], high=ends[1], p=p, covers_trainings=True)
    of_parts = _p_of_parts(these.value, [(variance * (1 - share), these.df), (variance * share, least)])
    return TrainedEstimate(these, other, spreads, of_trainings, df_trainings, is_rough, max(p, of_parts))


def _p_of_parts(value: float, parts: Sequence[tuple[float, float]]) -> float:
    """Return the p at which value² is the sum of t(1 - p/2; df)²·v over the parts (v, df) of its variance (§13.4).

    It holds at every level, where t with one df for all parts is too sure far below 0.05.
    """
    error = sqrt(sum(variance for variance, _ in parts))
    ends = [2 * t_below(-abs(value) / error, df) for _, df in parts]  # as if one of the two had the whole variance
    low, high = (log(max(end, 1e-300)) for end in sorted(ends))
    while high - low > 1e-13 * max(1.0, abs(low)):
        middle = (low + high) / 2
        bound = sum(t_exceeded(exp(middle) / 2, df) ** 2 * variance for variance, df in parts)
        low, high = (middle, high) if bound > value**2 else (low, middle)
    return exp((low + high) / 2)
