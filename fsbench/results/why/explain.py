"""Rank the causes of the distance between a claimed figure and a run's own.

A cause changes one or two words of the test. Its figure follows exactly from the counts, or it is a distribution where
other episodes are needed. Each cause is weighed by how usual its change is (`Change.weight`) and by the chance that it
makes the claimed digits; so is the alternative that no word explains it, and the predictions differ. Words of one axis
that make the same claimed digits cannot be told apart by them, and are one cause.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import inf, isfinite, prod, sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np

from fsbench.results.why.changes import Change, changes, either
from fsbench.results.why.claims import Claim, Figure
from fsbench.results.why.rules import Rule, RunCounts
from fsbench.results.why.spreads import Spread, spreads
from fsbench.scores.distributions import t_below, t_quantile
from fsbench.scores.estimate import LEVEL, Estimate

Verdict = Literal["explains", "could", "chance", "partly", "no"]
"""The cause alone makes the claimed digits and nothing else does so as well; it is one of several that would, such as
its alternatives, or its distribution holds the claimed figure; it makes them, but so would one of as many others by
chance; it makes a part of the distance; it does not."""

REPEATED = 0.02
"""Points by which a figure moves when the same evaluation is repeated on another machine, a standard deviation."""
ONE_WORD, TWO_WORDS, PREDICTIONS = 0.45, 0.05, 0.5
"""Shares of disputes in which one word, two words, or the predictions differ, before any figure is looked at."""
REPRODUCED, REPRODUCED_OF_FOLD = 2.5, 1.0
"""Scales in points of the distance between two reproductions of one method whose predictions differ: of what all folds
have in common, and of what each has beside it. Both are of Student's t with 3 degrees of freedom."""
ASTRAY = 0.2
"""Share of such reproductions that may be anywhere from 0 to 100, since they are broken."""
_STEPS = 2001
"""Steps of the integral over what folds have in common."""
SURE = 0.85
"""Share of a cause from which on it explains the distance."""
PART = 1 / 3
"""Share of the distance from which on a cause makes a part of it."""
_LEAST = 1e-300
_MOST_DF = 1e6
"""Degrees of freedom from which on Student's t is the normal distribution."""


@dataclass(frozen=True)
class Word:
    """A changed word: the axis, the run's own word, and the other."""

    axis: str
    own: str
    other: str


@dataclass(frozen=True)
class Cause:
    """A change of one or two words, and the figure that follows.

    Attributes:
        words: that change.
        sentence: the change, as a noun phrase.
        meanings: what words mean that do not speak for themselves.
        figure: that the run would have.
        low, high: where the figure lies with 95 %; both the figure itself where it is counted exactly.
        by_fold: the figure of each fold; of a distribution, before it moves.
        left: points of the distance that it leaves in the mean.
        is_exact: it is counted from the run's own predictions.
        verdict: whether it makes the claimed figure.
        share: its chance among all causes and the alternative that the predictions differ, from 0 to 1; with that of
            its alternatives.
        rule: by which it was counted.
        alternatives: causes that differ from it in the word of one axis and make the same claimed digits, the likelier
            first; each has its own share, and the verdict of all of them.
        either: the change or its alternatives, as a noun phrase; "" where it has none.
    """

    words: tuple[Word, ...]
    sentence: str
    meanings: Mapping[str, str]
    figure: float
    low: float
    high: float
    by_fold: Mapping[int, float]
    left: float
    is_exact: bool
    verdict: Verdict
    share: float
    rule: Rule = field(repr=False)
    alternatives: tuple["Cause", ...] = ()
    either: str = ""


@dataclass(frozen=True)
class Explanation:
    """Explanation of the distance between a claimed figure and a run's.

    Attributes:
        claim: the claimed figures.
        mine: the run's own figure, with its interval over images.
        by_fold: the run's own figures.
        gap: the claimed figure minus the run's own, in points; the mean over folds where those are claimed.
        agrees: the run's own figures are the claimed ones, rounding included.
        causes: ranked, the first explains it best with the fewest words; of two words those alone that fit.
        predictions: the chance that no word explains it, from 0 to 1.
        unanswered: causes that the stored data cannot count, each with the reason.
    """

    claim: Claim
    mine: Estimate
    by_fold: Mapping[int, float]
    gap: float
    agrees: bool
    causes: tuple[Cause, ...]
    predictions: float
    unanswered: tuple[str, ...] = ()

    @property
    def explaining(self) -> tuple[Cause, ...]:
        """The causes that explain the distance, or could."""
        return tuple(cause for cause in self.causes if cause.verdict in ("explains", "could"))

    @property
    def nothing(self) -> bool:
        """No change of the words explains the distance, or could: it lies in the predictions."""
        return not self.agrees and not self.explaining


@dataclass(frozen=True)
class _Candidate:
    """Changes, the rule that follows, and their share of disputes before any figure is looked at."""

    changes: tuple[Change | Spread, ...]
    rule: Rule
    prior: float

    @property
    def has_spread(self) -> bool:
        return any(isinstance(one, Spread) for one in self.changes)

    def simpler(self, own: Rule) -> list[Rule]:
        """Return the rules with one counted word less; a candidate that changes nothing more than they do is none."""
        counted = [one for one in self.changes if isinstance(one, Change)]
        return [_changed(own, [*counted[:place], *counted[place + 1 :]]) for place in range(len(counted))]


def explain(
    run: RunCounts,
    claim: Claim,
    expected: Sequence[tuple[str, str]] = (),
    further: Sequence[Spread] = (),
    unanswered: Sequence[str] = (),
) -> Explanation:
    """Rank the causes of the distance between a claimed figure and a run's own.

    Args:
        run: its counts.
        claim: the claimed figures.
        expected: (axis, word) in which the claimed test is known to differ; these changes are weighed first.
        further: distributions beside those of the run's own episodes.
        unanswered: what the stored data cannot count, for the reader.
    """
    own, is_part = run.by_fold(run.rule), run.is_part
    gap = _gap(claim.targets(own, is_part))
    found = [one for one in changes(run) if not (one.axis == "folds" and claim.folds)]
    weighed: list[_Weighed] = []
    for one in _candidates(run.rule, found, [*spreads(run, claim), *further], expected):
        by_fold = run.by_fold(one.rule)
        is_defined = bool(by_fold) and all(map(isfinite, by_fold.values()))
        if is_defined and not any(_is_same(by_fold, run.by_fold(rule)) for rule in one.simpler(run.rule)):
            weighed.append(_weigh(one, by_fold, claim, is_part))
    chances = [one.candidate.prior * one.likelihood for one in weighed]
    null = PREDICTIONS * _null(claim, own, is_part)
    total = max(null + sum(chances), _LEAST)
    shares = {id(one): chance / total for one, chance in zip(weighed, chances, strict=True)}
    causes = [
        _either(group, [shares[id(one)] for one in group], null / total, gap, run.rule)
        for group in _not_told_apart(sorted(weighed, key=lambda one: -shares[id(one)]))
    ]
    kept = [cause for cause in _ranked(causes) if len(cause.words) == 1 or _is_worth_saying(cause)]
    agrees = all(abs(one.value - value) <= one.half + 2 * REPEATED for one, value in claim.targets(own, is_part))
    mine = run.estimate(run.rule)
    return Explanation(claim, mine, own, gap, agrees, tuple(kept), null / total, tuple(unanswered))


def _is_worth_saying(cause: Cause) -> bool:
    """Return whether a cause of several words fits; a distribution, which fits easily, only where it is likely."""
    return cause.verdict in ("explains", "could") or (cause.verdict == "chance" and cause.is_exact)


def _is_same(by_fold: Mapping[int, float], own: Mapping[int, float]) -> bool:
    """Return whether a rule changes nothing here."""
    return by_fold.keys() == own.keys() and all(abs(value - own[fold]) < 1e-9 for fold, value in by_fold.items())


def _gap(targets: Sequence[tuple[Figure, float]]) -> float:
    """Return the mean of the claimed figures minus those of the run, in points."""
    return sum(figure.value - own for figure, own in targets) / len(targets)


def _candidates(
    own: Rule, found: Sequence[Change], unsure: Sequence[Spread], expected: Sequence[tuple[str, str]]
) -> list[_Candidate]:
    """List the changes of one word and of two, each with its share of all."""
    every: list[Change | Spread] = [*found, *unsure]
    number: dict[str, int] = {}
    for one in every:
        number[one.axis] = number.get(one.axis, 0) + 1
    stated = set(expected)
    weight = {id(one): 1.0 if (one.axis, one.word) in stated else one.weight / number[one.axis] for one in every}
    whole = sum(weight.values())
    share = {key: value / whole for key, value in weight.items()}
    singles = [_Candidate((one,), _changed(own, (one,)), ONE_WORD * share[id(one)]) for one in every]
    pairs = [pair for pair in combinations(every, 2) if _may_change_at_once(*pair)]
    products = [share[id(one)] * share[id(other)] for one, other in pairs]
    scale = TWO_WORDS / max(sum(products), _LEAST)
    doubles = [
        _Candidate(pair, _changed(own, pair), scale * product) for pair, product in zip(pairs, products, strict=True)
    ]
    whole_row = tuple(one for one in found if (one.axis, one.word) in stated)
    rows = [_Candidate(whole_row, _changed(own, whole_row), ONE_WORD)] if len(whole_row) > 2 else []
    return [*singles, *doubles, *rows]


def _may_change_at_once(one: Change | Spread, other: Change | Spread) -> bool:
    return one.axis != other.axis and one.goes_with(other) and other.goes_with(one)


def _changed(rule: Rule, made: Sequence[Change | Spread]) -> Rule:
    for one in made:
        if isinstance(one, Change):
            rule = one.changed(rule)
    return rule


@dataclass(frozen=True)
class _Weighed:
    """A candidate with its figures, and the density of the claimed ones if it were true.

    Attributes:
        candidate: the changes.
        by_fold: its figures.
        targets: each claimed figure beside its own.
        offset: points by which distributions move it.
        errors: of each of its figures, with the degrees of freedom.
        error: of the mean of those.
        likelihood: the density.
    """

    candidate: _Candidate
    by_fold: Mapping[int, float]
    targets: Sequence[tuple[Figure, float]]
    offset: float
    errors: Sequence[tuple[float, float]]
    error: tuple[float, float]
    likelihood: float

    @property
    def has_spread(self) -> bool:
        """Its figures are distributions, and not counted exactly."""
        return any(error for error, _ in self.errors)

    @property
    def left(self) -> float:
        """Points that it leaves of the distance."""
        return sum(claimed.value - value - self.offset for claimed, value in self.targets) / len(self.targets)

    @property
    def fits(self) -> bool:
        """The claimed digits are its own, or lie in 95 % of its distribution: on each fold, and in their mean."""
        each = all(
            abs(claimed.value - value - self.offset) <= claimed.half + reach
            for (claimed, value), reach in zip(self.targets, map(_reach, self.errors), strict=True)
        )
        half = max(claimed.half for claimed, _ in self.targets)
        return each and abs(self.left) <= half + _reach(self.error)

    @property
    def prints_the_claim(self) -> bool:
        """Its figures are counted exactly, and are the claimed ones in every printed digit."""
        return not self.candidate.has_spread and all(abs(one.value - own) <= one.half for one, own in self.targets)


def _reach(error: tuple[float, float]) -> float:
    """Return half the 95 % interval of a distribution; of none, what a repetition moves."""
    scale, df = error
    return _quantile(df) * scale if scale else 2 * REPEATED


def _quantile(df: float) -> float:
    return NormalDist().inv_cdf(0.5 + LEVEL / 2) if df > _MOST_DF else t_quantile(0.5 + LEVEL / 2, df)


def _weigh(candidate: _Candidate, by_fold: Mapping[int, float], claim: Claim, is_part: bool) -> _Weighed:
    targets = claim.targets(by_fold, is_part)
    moved = [one for one in candidate.changes if isinstance(one, Spread)]
    offset = sum(one.offset for one in moved)
    is_mean = is_part and claim.mean is not None
    folds = [[fold] for fold in claim.folds if fold in by_fold and not is_mean]
    folds += [list(by_fold)] * (len(targets) - len(folds))
    errors = [_joined([one.error(own) for one in moved]) for own in folds]
    likelihood = prod(
        _density(claimed, value + offset, error) for (claimed, value), error in zip(targets, errors, strict=True)
    )
    error = _joined([one.error(list(by_fold)) for one in moved])
    return _Weighed(candidate, by_fold, targets, offset, errors, error, likelihood)


def _joined(errors: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Join independent errors (standard error, degrees of freedom) by Welch and Satterthwaite."""
    total = sum(error**2 for error, _ in errors)
    if not total:
        return 0.0, inf
    return sqrt(total), total**2 / max(sum(error**4 / df for error, df in errors), _LEAST)


def _density(claimed: Figure, center: float, error: tuple[float, float]) -> float:
    """Return the density, a point, of figures that are printed as the claimed one."""
    scale = sqrt(error[0] ** 2 + REPEATED**2)
    df = error[1]
    ends = ((claimed.value + sign * claimed.half - center) / scale for sign in (-1, 1))
    low, high = (_below(end, df) for end in ends)
    return max(high - low, 0.0) / (2 * claimed.half)


def _below(value: float, df: float) -> float:
    return NormalDist().cdf(value) if df > _MOST_DF else t_below(value, df)


def _null(claim: Claim, own: Mapping[int, float], is_part: bool) -> float:
    """Return the density of the claimed figures where the predictions differ.

    Other predictions move all folds by a common distance, and each by its own beside it.
    """
    targets = claim.targets(own, is_part)
    away = np.array([figure.value - value for figure, value in targets])
    if len(away) == 1:
        return float(_common_density(away)[0])
    reach = 10 * REPRODUCED + float(np.abs(away).max())
    common, step = np.linspace(-reach, reach, _STEPS, retstep=True)
    each = _t_density(away[:, None] - common, REPRODUCED_OF_FOLD).prod(0)
    return float((each * _common_density(common)).sum() * step)


def _common_density(values: np.ndarray) -> np.ndarray:
    """Return the density of what other predictions move all folds by, at `values` in points."""
    return (1 - ASTRAY) * _t_density(values, REPRODUCED) + ASTRAY / 100


def _t_density(values: np.ndarray, scale: float) -> np.ndarray:
    """Return the density of Student's t with 3 degrees of freedom at `values` in points."""
    return np.asarray(2 / (np.pi * sqrt(3) * (1 + (values / scale) ** 2 / 3) ** 2) / scale)


def _not_told_apart(weighed: Sequence[_Weighed]) -> list[list[_Weighed]]:
    """Group candidates that differ in the word of one axis alone and print the claim; each other one stands alone."""
    alone: list[list[_Weighed]] = []
    groups: list[list[_Weighed]] = []
    for one in weighed:
        if not one.prints_the_claim:
            alone.append([one])
            continue
        group = next((group for group in groups if len(_differing([*group, one])) == 1), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return [*groups, *alone]


def _differing(group: Sequence[_Weighed]) -> set[str]:
    """Return the axes on which candidates have several words; all of their axes where those are not the same."""
    axes = {tuple(each.axis for each in one.candidate.changes) for one in group}
    if len(axes) > 1:
        return {axis for each in axes for axis in each}
    columns = zip(*(one.candidate.changes for one in group), strict=True)
    return {column[0].axis for column in columns if len({each.word for each in column}) > 1}


def _either(group: Sequence[_Weighed], shares: Sequence[float], predictions: float, gap: float, own: Rule) -> Cause:
    """Return the cause of candidates that cannot be told apart, the likeliest first."""
    first, *others = (_cause(one, share, predictions, gap, own) for one, share in zip(group, shares, strict=True))
    if not others:
        return first
    verdict = _verdict(group[0], sum(shares), predictions, gap)
    verdict = "could" if verdict == "explains" else verdict  # one of several that would
    columns = zip(*(one.candidate.changes for one in group), strict=True)
    distinct = ([each for each in dict.fromkeys(column) if isinstance(each, Change)] for column in columns)
    return replace(
        first,
        meanings={word: text for cause in (first, *others) for word, text in cause.meanings.items()},
        verdict=verdict,
        share=sum(shares),
        alternatives=tuple(replace(one, verdict=verdict) for one in others),
        either=", and ".join(map(either, distinct)),
    )


def _cause(one: _Weighed, share: float, predictions: float, gap: float, own: Rule) -> Cause:
    mean = sum(one.by_fold.values()) / len(one.by_fold) + one.offset
    reach = _reach(one.error) if one.has_spread else 0.0
    return Cause(
        words=tuple(Word(each.axis, _own_word(each.axis, own), each.word) for each in one.candidate.changes),
        sentence=", and ".join(each.sentence for each in one.candidate.changes),
        meanings={each.word: each.meaning for each in one.candidate.changes if each.meaning},
        figure=mean,
        low=mean - reach,
        high=mean + reach,
        by_fold=dict(one.by_fold),
        is_exact=not one.candidate.has_spread,
        left=one.left,
        verdict=_verdict(one, share, predictions, gap),
        share=share,
        rule=one.candidate.rule,
    )


def _verdict(one: _Weighed, share: float, predictions: float, gap: float) -> Verdict:
    is_one_word = len(one.candidate.changes) == 1
    if one.fits:
        if not one.has_spread:
            is_sure = share >= SURE and (is_one_word or len(one.targets) > 1)  # many pairs print any one figure
            return "explains" if is_sure else "could" if share >= predictions else "chance"
        return "could" if is_one_word or share >= SURE else "chance"  # a wide distribution fits nearly everything
    return "partly" if is_one_word and abs(one.left) <= (1 - PART) * abs(gap) else "no"


def _own_word(axis: str, own: Rule) -> str:
    """Return the run's own word on an axis; "" where it has none."""
    words = {
        "void": {"ignore": "ignored", "background": "background", "present": "present only"}[own.void],
        "compared_at": own.compared_at,
        "metric": own.score,
        "folds": f"fold {own.folds[0]}" if len(own.folds) == 1 else f"the mean of {len(own.folds)} folds",
    }
    return words.get(axis, "")


def _ranked(causes: Sequence[Cause]) -> list[Cause]:
    """Order causes: those that fit, the surest with the fewest words first; then by the distance that they leave."""

    def place(cause: Cause) -> tuple[float, ...]:
        if cause.verdict in ("explains", "could", "chance"):
            return cause.verdict != "explains", 0, len(cause.words), not cause.is_exact, -cause.share
        return 1, 1, cause.verdict != "partly", abs(cause.left)

    return sorted(causes, key=place)
