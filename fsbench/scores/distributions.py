"""Student's t, beta and chi-squared: the probabilities and quantiles of intervals and tests.

SciPy has them, and is the oracle of the tests. It is not asked for here, since 113 MB for five functions would make the
light installation half as large again. Continued fractions and series: Press et al., Numerical Recipes, sections 6.2
and 6.4; values agree with SciPy's to a relative 1e-10.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import count, islice
from math import exp, fabs, inf, isnan, lgamma, log, log1p, nan, pi, sqrt
from statistics import NormalDist

_TINY = 1e-300
_PRECISION = 1e-16
_MOST_TERMS = 100_000
_NEARLY_NORMAL = 1e6
"""Degrees of freedom from which t is taken for a transformed normal variable, with an error of their inverse square."""


def t_below(value: float, df: float) -> float:
    """Return the probability that Student's t with `df` degrees of freedom is below `value`.

    >>> round(t_below(-2.228, 10), 3)
    0.025
    """
    if df > _NEARLY_NORMAL:
        return NormalDist().cdf(value * (1 - 0.25 / df) / sqrt(1 + 0.5 * value * value / df))
    tail = 0.5 * _beta_below(df / (df + value * value), value * value / (df + value * value), df / 2, 0.5)
    return tail if value < 0 else 1 - tail


@lru_cache(maxsize=1024, typed=True)  # an interval of a share asks again for that of its error
def t_quantile(probability: float, df: float) -> float:
    """Return the quantile of Student's t with `df` degrees of freedom at `probability`.

    >>> round(t_quantile(0.975, 10), 3)
    2.228
    """
    return -t_exceeded(probability, df) if probability < 0.5 else t_exceeded(1 - probability, df)


def t_exceeded(tail: float, df: float) -> float:
    """Return the value that Student's t with `df` degrees of freedom exceeds with probability `tail`.

    >>> round(t_exceeded(0.025, 10), 3)
    2.228
    """
    if tail in (0, 0.5):
        return inf if tail == 0 else 0.0
    scale = exp(_log_gamma_ratio(df / 2, 0.5)) / sqrt(df * pi)
    return _solve(
        lambda value: t_below(-value, df) - tail,
        lambda value: -scale * exp(-(df + 1) / 2 * log1p(value * value / df)),
        -NormalDist().inv_cdf(tail),
    )


_LEAST_ODDS = 1e-100
"""Odds below which a quantile is 0, and above whose inverse it is 1."""


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return the quantile of the beta distribution with parameters `a` and `b` at `probability`.

    >>> round(beta_quantile(0.975, 8, 3), 3)
    0.933
    """
    scale = _log_beta(a, b)

    def above(value: float) -> float:
        return _beta_below(value / (1 + value), 1 / (1 + value), a, b) - probability

    if above(_LEAST_ODDS) > 0 or above(1 / _LEAST_ODDS) < 0:  # with parameters near 0 nearly all lies at the two ends
        return 0.0 if above(_LEAST_ODDS) > 0 else 1.0
    odds = _solve(  # of odds from 0 to infinity, so that no end is rounded to 0 or 1
        above,
        lambda value: exp((a - 1) * log(value) - (a + b) * log1p(value) - scale) if value > 0 else 0.0,
        a / b,
    )
    return odds / (1 + odds)


def chi_squared_quantile(probability: float, df: float) -> float:
    """Return the quantile of chi-squared with `df` degrees of freedom at `probability`.

    >>> round(chi_squared_quantile(0.95, 1), 3)
    3.841
    """
    half = df / 2
    return 2 * _solve(
        lambda value: _gamma_below(value, half) - probability,
        lambda value: exp((half - 1) * log(value) - value - lgamma(half)) if value > 0 else 0.0,
        half,
    )


def _beta_below(x: float, rest: float, a: float, b: float) -> float:
    """Return the incomplete beta function I_x(a, b), where `rest` is 1 - x."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - _beta_below(rest, x, b, a)
    front = (
        exp(a * (log(x) if x < 0.5 else log1p(-rest)) + b * (log(rest) if x > 0.5 else log1p(-x)) - _log_beta(a, b)) / a
    )

    return front / _beta_fraction(x, a, b)


def _log_beta(a: float, b: float) -> float:
    """Return the logarithm of the beta function."""
    return lgamma(min(a, b)) - _log_gamma_ratio(max(a, b), min(a, b))


def _log_gamma_ratio(a: float, b: float) -> float:
    """Return log(gamma(a + b) / gamma(a)), for large `a` by Stirling's series, whose large terms cancel here."""
    if a < 100:
        return lgamma(a + b) - lgamma(a)
    series = [1 / (12 * z) - 1 / (360 * z**3) + 1 / (1260 * z**5) for z in (a + b, a)]
    return (a - 0.5) * log1p(b / a) + b * log(a + b) - b + series[0] - series[1]


def _gamma_below(x: float, a: float) -> float:
    """Return the incomplete gamma function P(a, x)."""
    if x <= 0:
        return 0.0
    front = exp(a * log(x) - x - lgamma(a))
    if x >= a + 1:
        return 1 - front / _fraction(x + 1 - a, ((-n * (n - a), x + 1 - a + 2 * n) for n in count(1)))
    total = term = 1 / a
    for n in range(1, _MOST_TERMS):
        term *= x / (a + n)
        total += term
        if term < total * _PRECISION:
            break
    return front * total


def _fraction(first: float, terms: Iterable[tuple[float, float]]) -> float:
    """Return the continued fraction first + n₁/(d₁ + n₂/(d₂ + …)) of `terms` (n₁, d₁), … by Lentz's method."""
    value = c = first or _TINY
    d = 0.0
    for numerator, denominator in islice(terms, _MOST_TERMS - 1):
        d = 1 / ((denominator + numerator * d) or _TINY)
        c = (denominator + numerator / c) or _TINY
        value *= c * d
        if fabs(c * d - 1) < 4 * _PRECISION:
            break
    return value


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of I_x(a, b), all of whose denominators are 1, by Lentz's method.

    It is `_fraction` with its terms in place, not from a generator, which takes 1.7 times as long: quantiles are most
    of the time of a table's intervals.
    """
    value = c = 1.0
    d = 0.0
    for term in range(_MOST_TERMS - 1):
        m = (term + 1) // 2
        if term % 2:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / ((1.0 + numerator * d) or _TINY)
        c = (1.0 + numerator / c) or _TINY
        value *= c * d
        if fabs(c * d - 1) < 4 * _PRECISION:
            break
    return value


def _solve(function: Callable[[float], float], slope: Callable[[float], float], start: float) -> float:
    """Return the root above 0 of a monotone function: Newton's steps, halved where they leave what encloses it."""
    low, high, value = 0.0, inf, start
    rising = slope(start) > 0
    while True:
        found = function(value)
        if isnan(found):
            return nan
        if (found > 0) == rising:
            high = value
        else:
            low = value
        steep = slope(value)
        new = value - found / steep if steep else low
        if not low < new < high:
            new = 2 * value if high == inf else (low + high) / 2
        if fabs(new - value) <= 4 * _PRECISION * value or (high < inf and high - low <= 4 * _PRECISION * high):
            return new
        value = new
