"""Decisions from intervals and tests: many comparisons, sizes of tests, published figures (statistics spec §7-§9).

An `Estimate` comes from `fsbench.scores.estimate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from fsbench.scores.distributions import chi_squared_quantile, t_quantile
from fsbench.scores.estimate import LEVEL, Estimate

POWER = 0.80
FIRST_SHARE = 0.8
"""Weight of the comparisons of the first metric on the whole test among all that a command prints."""

ALPHA = 0.05
"""Level of all tests; a p below it goes with a 95 % interval that leaves out 0."""


@dataclass(frozen=True)
class Factor:
    """How many times as many images a test needs to find a difference, with a 95 % interval of that factor."""

    value: float
    low: float
    high: float


def holm(p: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Adjust p-values for multiple comparisons by Holm's method, with optional weights.

    With adjusted values below 0.05 taken for differences, the chance that any of these is false is at most 5 %. NaN
    stays NaN and does not count as a comparison.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    shares = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known] / shares[known], kind="stable")]
    left = shares[order][::-1].cumsum()[::-1]
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] / shares[order] * left), 1)
    return [float(value) for value in adjusted]


def family_weights(first: Sequence[bool]) -> list[float]:
    """Return weights for `holm`: comparisons of the first metric on the whole test share 0.8, all others share 0.2.

    Each share is divided equally. If all comparisons are of one kind, they share 1.

    >>> family_weights([True, False, False])
    [0.8, 0.1, 0.1]
    """
    number = sum(first)
    others = len(first) - number
    share = FIRST_SHARE if number and others else 1.0
    return [share / number if is_first else (1 - share if number else 1.0) / others for is_first in first]


def adjust(p: Sequence[float], first: Sequence[bool]) -> list[float]:
    """Correct the p-values of all comparisons that a command prints together, by Holm's method with weights.

    Comparisons of the first metric on the whole test get most of the weight (see `holm` and `family_weights`).

    Args:
        p: p-value of each comparison; NaN for a comparison without a test, which is not counted.
        first: for each comparison whether it is about the first metric on the whole test.

    Returns:
        The corrected p-values, in the same order.
    """
    tested = [value == value for value in p]
    weights = iter(family_weights([own for own, known in zip(first, tested, strict=True) if known]))
    return holm(p, [next(weights) if known else 1.0 for known in tested])


def smallest_difference(found: Estimate, power: float = POWER) -> float:
    """Return the smallest true difference, in points, that a test of this size finds with probability `power`.

    Args:
        found: a difference measured on a test of this size, whose standard error and degrees of freedom are used.
        power: wanted probability, from 0 to 1, that the test shows the true difference to be significant.
    """
    return (t_quantile(0.5 + LEVEL / 2, found.df) + t_quantile(power, found.df)) * found.error


def times_larger(found: Estimate, effect: float = 1.0, power: float = POWER) -> Factor:
    """Return how many times as many images a test needs to find a true difference of `effect` points (statistics §8).

    Args:
        found: a difference measured on the present test, whose standard error and degrees of freedom are used.
        effect: true difference, in points, that the larger test shall find; not the difference that was measured.
        power: wanted probability, from 0 to 1, that the larger test finds the true difference.
    """
    factor = (smallest_difference(found, power) / effect) ** 2
    half, tail = found.df / 2, 0.5 - LEVEL / 2
    ends = (chi_squared_quantile(probability, half) for probability in (1 - tail, tail))
    return Factor(factor, *(factor * half / end for end in ends))


def beside_published(found: Estimate, published: float, digits: int = 1) -> Literal["above", "below", "not told apart"]:
    """Say whether a measured score is above, below or not told apart from a published score (statistics §9).

    The published score's sampling error is assumed to equal that of the measured score.

    Args:
        found: the measured score, with its standard error.
        published: the published score, in points.
        digits: number of decimals of the published score; half a unit of the last decimal is taken for rounding.
    """
    away = found.value - published
    margin = t_quantile(0.5 + LEVEL / 2, found.df) * sqrt(2) * found.error + 0.5 * 10.0**-digits
    if not abs(away) > margin:  # also without an error
        return "not told apart"
    return "above" if away > 0 else "below"


def equivalent(found: Estimate, margin: float) -> bool:
    """Return whether the 90 % interval of a difference lies within ± `margin` points (two one-sided tests)."""
    return abs(found.value) + t_quantile(LEVEL, found.df) * found.error < margin


def indistinguishable(ranked: Sequence[str], different: set[frozenset[str]]) -> list[list[str]]:
    """Group methods that are not told apart: the longest stretches of a ranking without a pair that differs.

    A method that differs from both neighbours in the ranking is in no group.

    Args:
        ranked: names of the methods, best first.
        different: pairs of names whose scores differ.

    Returns:
        Groups of two or more names, the best first; a method may be in several groups.
    """
    stretches: list[list[str]] = []
    for start in range(len(ranked)):
        end = start + 1
        while end < len(ranked) and not any(frozenset((name, ranked[end])) in different for name in ranked[start:end]):
            end += 1
        stretch = list(ranked[start:end])
        if len(stretch) > 1 and not (stretches and set(stretch) <= set(stretches[-1])):
            stretches.append(stretch)
    return stretches


def compact_letters(ranked: Sequence[str], different: set[frozenset[str]]) -> dict[str, str]:
    """Give methods letters so that two methods share a letter exactly if their scores do not differ.

    The algorithm starts with one letter for all and takes one difference after the other: a letter that both methods
    have is split in two, one without either method, and a letter whose methods all have another letter is dropped
    (Piepho, 2004, J. Comput. Graph. Stat. 13, 456).

    Args:
        ranked: names of the methods, the best first, which gets the first letter.
        different: pairs of names of methods whose scores differ.

    Returns:
        {name: its letters in order, such as "ab"}; a method that differs from all others has a letter of its own.
    """
    rank = {name: place for place, name in enumerate(ranked)}
    groups: list[set[str]] = [set(ranked)]
    for pair in sorted(different, key=lambda pair: sorted(rank[name] for name in pair)):
        divided = [part for group in groups for part in ([group - {one} for one in pair] if pair <= group else [group])]
        distinct = [group for i, group in enumerate(divided) if group not in divided[:i]]
        groups = [group for group in distinct if not any(group < other for other in distinct)]
    groups.sort(key=lambda group: sorted(rank[name] for name in group))
    return {name: "".join(_letter(i) for i, group in enumerate(groups) if name in group) for name in ranked}


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"
