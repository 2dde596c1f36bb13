"""Probabilities and quantiles of the distributions of tests, compared with SciPy's."""

from math import isnan, nan

import pytest
from scipy import stats

from fsbench.scores.distributions import beta_quantile, chi_squared_quantile, t_below, t_quantile

FREEDOM = [1, 1.3, 2, 3.7, 5, 33.3, 100, 99.9, 1e3, 1e5, 1e7]
PROBABILITIES = [0.001, 0.025, 0.2, 0.5, 0.8, 0.975, 0.9999]


def exactly(value: float) -> object:
    """Approximately `value`: ten digits."""
    return pytest.approx(value, rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("df", FREEDOM)
def test_t(df):
    for value in (-50, -3.2, -0.1, -1e-4, 0, 0.5, 9):
        assert t_below(value, df) == exactly(stats.t.cdf(value, df))
    for probability in PROBABILITIES:
        assert t_quantile(probability, df) == exactly(stats.t.ppf(probability, df))


@pytest.mark.parametrize("df", FREEDOM)
def test_chi_squared(df):
    for probability in PROBABILITIES:
        assert chi_squared_quantile(probability, df) == exactly(stats.chi2.ppf(probability, df))


@pytest.mark.parametrize("a", FREEDOM)
@pytest.mark.parametrize("b", [0.4, 1, 2.2, 17, 3000])
def test_beta(a, b):
    for probability in PROBABILITIES:
        assert beta_quantile(probability, a, b) == exactly(stats.beta.ppf(probability, a, b))


def test_nothing_follows_from_what_is_no_number():
    assert all(map(isnan, (t_quantile(0.975, nan), t_below(nan, 3), beta_quantile(0.3, nan, 2))))
    assert isnan(chi_squared_quantile(0.5, nan))


def test_quantiles_of_beta_end_where_nearly_all_lies_at_the_two_ends():
    """A share whose trainings differ by tens of points has an effective size far below one image."""
    assert beta_quantile(0.025, 0.0479, 1.0037) == pytest.approx(stats.beta.ppf(0.025, 0.0479, 1.0037), abs=1e-12)
    assert beta_quantile(0.975, 1.0479, 0.00368) == pytest.approx(1) and beta_quantile(0.025, 1e-3, 1.0) == 0
