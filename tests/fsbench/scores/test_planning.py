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
    Share,
    more_draws,
    power_of,
    quantiles,
    shared_part,
    trainings_needed,
    variance_scales,
    whole,
)


@st.composite
def estimates(draw):
    """Differences of some error."""
    return Estimate(draw(st.floats(-9, 9)), error=draw(st.floats(0.1, 5)), df=draw(st.floats(4, 500)))


effects, powers, shares = st.floats(0.1, 20), st.floats(0.1, 0.99), st.floats(0, 1)


def plain_share(influences, group, variance):
    """The shared part in loops: the mean product of two cells of a group, times all pairs of cells in groups."""
    products, pairs, every = 0.0, 0, 0
    for number in set(group):
        own = [value for value, of in zip(influences, group, strict=True) if of == number]
        products += sum(a * b for i, a in enumerate(own) for j, b in enumerate(own) if i != j)
        pairs += len(own) * (len(own) - 1)
        every += len(own) ** 2
    return every * products / pairs / variance


def test_what_cells_of_a_query_have_in_common_is_found():
    rng = np.random.default_rng(0)
    for queries, episodes in ((1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.3, 2.0)):
        group = rng.integers(0, 400, 1200)
        influences = queries * rng.normal(size=400)[group] + episodes * rng.normal(size=1200)
        size = np.bincount(group)
        variance = queries**2 * (size**2).sum() + episodes**2 * 1200
        found = shared_part(influences, group, variance)
        planted = queries**2 * (size**2).sum() / variance
        assert found.low - 0.02 <= planted <= found.high + 0.02 and found.low <= found.value <= found.high
        expected = plain_share(influences, group, variance)
        assert found.value == pytest.approx(min(max(expected, 0), 1))


def test_methods_that_see_the_query_alone_have_no_other_part():
    influences = np.repeat(np.random.default_rng(1).normal(size=60), 2)
    group = np.repeat(np.arange(60), 2)
    found = shared_part(influences, group, float((np.bincount(group, influences) ** 2).sum()))
    assert found.value == pytest.approx(1)
    assert shared_part(influences[:18], group[:18], 1.0) is None  # nine queries


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
    moved, share = Estimate(other, error=found.error, df=found.df), Share(0.1, 0.0, 0.3)
    assert times_larger(moved, effect, power) == times_larger(found, effect, power)
    assert more_draws(moved, share, effect, power) == more_draws(found, share, effect, power)
    assert power_of(moved, effect, 3.0) == power_of(found, effect, 3.0)


@given(estimates(), effects, powers, st.tuples(shares, shares, shares).map(sorted))
def test_draws_leave_what_the_queries_contribute(found, effect, power, ends):
    low, value, high = ends
    factor = more_draws(found, Share(value, low, high), effect, power)
    wanted = effect / (stats.t.ppf(0.975, found.df) + stats.t.ppf(power, found.df))
    assert 1 <= factor.low <= factor.value <= factor.high
    if factor.value == inf:
        assert value * found.error**2 >= wanted**2 * (1 - 1e-9)
    elif factor.value > 1:
        assert found.error * sqrt(value + (1 - value) / factor.value) == pytest.approx(wanted)
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
