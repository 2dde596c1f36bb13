"""Sizes of tests against brute force: what is promised of a size holds at it, and not below."""

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from fsbench.scores.decisions import times_larger
from fsbench.scores.estimate import Estimate
from fsbench.scores.planning import (
    ErrorParts,
    more_draws,
    power_of,
    quantiles,
    trainings_needed,
    variance_scales,
    whole,
)


@st.composite
def estimates(draw):
    """Differences whose parts of the variance are known: of queries, of supports, of single episodes."""
    queries, supports, episodes = (draw(st.floats(0.01, 20)) for _ in range(3))
    error = sqrt(queries + supports + episodes)
    variances = (queries + episodes, supports + episodes, episodes)
    return Estimate(draw(st.floats(-9, 9)), error=error, df=draw(st.floats(4, 500)), variances=variances)


effects, powers = st.floats(0.1, 20), st.floats(0.1, 0.99)


@given(estimates())
def test_the_parts_of_a_variance_add_up_to_it(found):
    parts = ErrorParts.from_estimate(found)
    assert parts.queries + parts.supports + parts.episodes == pytest.approx(found.error**2)
    planted = (found.variances[0] - found.variances[2], found.variances[1] - found.variances[2], found.variances[2])
    assert (parts.queries, parts.supports, parts.episodes) == pytest.approx(planted)


def test_no_part_of_a_variance_is_negative():
    for variances in ((4.0, 3.0, 4.0), (3.0, 3.0, 4.0), (4.0, 1.0, 5.0)):
        found = Estimate(0.0, error=sqrt(variances[0]), df=50, variances=variances)
        assert ErrorParts.from_estimate(found) == ErrorParts(0.0, 0.0, variances[0])


@given(estimates(), effects, powers)
def test_a_test_of_the_planned_size_has_the_wanted_power(found, effect, power):
    factor = times_larger(found, effect, power)
    assert power_of(found, effect, factor.value) == pytest.approx(power)
    assert factor.low < factor.value < factor.high
    for end, scale in zip((factor.low, factor.high), variance_scales(found.df / 2), strict=True):
        assert power_of(found, effect, end, scale) == pytest.approx(power)
    assert power_of(found, effect, 2 * factor.value) > power > power_of(found, effect, factor.value / 2)


@given(estimates(), effects, powers, st.floats(-9, 9))
def test_no_size_follows_from_the_difference_that_was_found(found, effect, power, other):
    moved = Estimate(other, error=found.error, df=found.df, variances=found.variances)
    assert times_larger(moved, effect, power) == times_larger(found, effect, power)
    assert more_draws(moved, effect, power) == more_draws(found, effect, power)
    assert power_of(moved, effect, 3.0) == power_of(found, effect, 3.0)


@given(estimates(), effects, powers)
def test_draws_leave_what_the_queries_contribute(found, effect, power):
    factor, parts = more_draws(found, effect, power), ErrorParts.from_estimate(found)
    wanted = effect / (stats.t.ppf(0.975, found.df) + stats.t.ppf(power, found.df))
    assert 1 <= factor.low <= factor.value <= factor.high
    if factor.value == inf:
        assert parts.queries >= wanted**2 * (1 - 1e-9)
    elif factor.value > 1:
        error = sqrt(parts.queries + (parts.supports + parts.episodes) / factor.value)
        assert error == pytest.approx(wanted)
    else:
        assert found.error <= wanted * (1 + 1e-9)


@given(st.floats(1, 1000))
def test_scales_are_the_interval_of_a_variance(df):
    expected = df / stats.chi2.ppf(0.975, df), df / stats.chi2.ppf(0.025, df)
    assert variance_scales(df) == pytest.approx(expected, rel=1e-6)


def power_of_welch(variances, number, effect, power):
    """Whether `number` trainings of each method find the effect, plainly."""
    total = sum(variances)
    df = total**2 / sum(own**2 / (number - 1) for own in variances)
    return (stats.t.ppf(0.975, df) + stats.t.ppf(power, df)) * sqrt(total / number) <= effect


@given(
    st.lists(st.lists(st.floats(30, 32), min_size=2, max_size=6), min_size=1, max_size=2),
    st.floats(0.3, 5),
    st.floats(0.3, 0.95),
)
def test_so_many_trainings_are_enough_and_one_less_is_not(scores, effect, power):
    variances = [float(np.var(of_method, ddof=1)) for of_method in scores]
    assume(sum(variances) > 1e-6)
    found = trainings_needed(scores, effect, power)
    number = int(found.value)
    assert 2 <= found.low <= number <= found.high
    assert power_of_welch(variances, number, effect * (1 + 1e-9), power)
    assert number == 2 or not power_of_welch(variances, number - 1, effect * (1 - 1e-9), power)


def test_equal_scores_of_all_trainings_tell_nothing():
    assert trainings_needed([[40.0, 40.0], [41.0, 41.0]], 1.0, 0.8) is None


def test_numbers_are_rounded_up_and_no_number_stays_none():
    assert [whole(2.0, 10), whole(2.01, 10), whole(inf, 10)] == [20, 21, None]
    assert quantiles(1e9, 0.8) == pytest.approx(stats.norm.ppf(0.975) + stats.norm.ppf(0.8), abs=1e-6)
