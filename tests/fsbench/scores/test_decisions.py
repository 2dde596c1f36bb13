"""Decisions from intervals and tests: by hand, against scipy's distributions, and by simulation."""

from itertools import combinations
from math import isnan, nan, sqrt

import numpy as np
import pytest
from scipy.stats import chi2, t

from fsbench.scores.decisions import (
    adjust,
    beside_published,
    compact_letters,
    equivalent,
    family_weights,
    holm,
    indistinguishable,
    smallest_difference,
    times_larger,
)
from fsbench.scores.estimate import Estimate


def plain_holm(p, w):
    """Reject one after the other while p / w is below the level over the weights that are left (Holm 1979)."""
    adjusted = dict.fromkeys(range(len(p)), 0.0)
    left, least = set(range(len(p))), 0.0
    while left:
        first = min(left, key=lambda i: p[i] / w[i])
        least = adjusted[first] = min(max(least, p[first] / w[first] * sum(w[i] for i in left)), 1)
        left.remove(first)
    return list(adjusted.values())


def test_holm_is_the_plain_procedure_in_a_family_whose_first_metric_is_favoured():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1] and holm([]) == []
    rng = np.random.default_rng(1)
    for _ in range(20):
        first = (rng.random(9) < 0.3).tolist()
        p = (rng.random(9) ** 4).tolist()
        weights = family_weights(first)
        assert sum(weights) == pytest.approx(1)
        assert holm(p, weights) == adjust(p, first) == pytest.approx(plain_holm(p, weights))
        if any(first) and not all(first):
            assert sum(w for w, own in zip(weights, first, strict=True) if own) == pytest.approx(0.8)
    assert adjust([0.02, 0.02], [False, False]) == pytest.approx([0.04, 0.04])


def test_what_is_not_tested_is_in_no_family():
    with_gap = adjust([0.01, nan, 0.02], [True, True, False])
    assert isnan(with_gap[1])
    assert [with_gap[0], with_gap[2]] == pytest.approx(adjust([0.01, 0.02], [True, False]))


def test_sizes_of_tests_are_those_of_scipys_distributions():
    found = Estimate(1.3, error=0.9, df=17.5)
    quantiles = t.ppf(0.975, 17.5) + t.ppf(0.8, 17.5)
    assert smallest_difference(found) == pytest.approx(0.9 * quantiles)
    factor = times_larger(found, effect=0.5)
    assert factor.value == pytest.approx((quantiles * 0.9 / 0.5) ** 2)
    half = 17.5 / 2
    ends = [factor.value * half / chi2.ppf(q, half) for q in (0.975, 0.025)]
    assert (factor.low, factor.high) == pytest.approx(tuple(ends))
    again = times_larger(Estimate(0.0, error=0.9 / sqrt(factor.value), df=17.5), effect=0.5)
    assert again.value == pytest.approx(1)  # so large a test is large enough


def test_published_figures_bear_their_own_error_and_rounding():
    found = Estimate(60.0, error=1.0, df=1e9)
    margin = 1.959964 * sqrt(2)
    for digits, rounding in ((0, 0.5), (1, 0.05)):
        away = margin + rounding
        assert beside_published(found, 60 - away - 0.001, digits) == "above"
        assert beside_published(found, 60 + away + 0.001, digits) == "below"
        assert beside_published(found, 60 + away - 0.001, digits) == "not told apart"
    assert beside_published(Estimate(60.0), 10.0) == "not told apart"  # no interval


def test_equivalence_needs_the_90_percent_interval_inside_the_margin():
    found = Estimate(0.5, error=1.0, df=20.0)
    edge = 0.5 + t.ppf(0.95, 20)
    assert equivalent(found, edge + 1e-6) and not equivalent(found, edge - 1e-6)
    assert not equivalent(Estimate(0.0), 1.0)  # no interval


def test_methods_that_are_alike_stand_in_the_longest_stretches():
    apart = {frozenset(pair) for pair in ("ac", "ad", "bd", "ae", "be", "ce", "de")}
    assert indistinguishable("abcde", apart) == [["a", "b"], ["b", "c"], ["c", "d"]]
    assert indistinguishable("abc", set()) == [["a", "b", "c"]]
    assert indistinguishable("ab", {frozenset("ab")}) == []


def test_two_methods_share_a_letter_exactly_where_they_do_not_differ():
    names = list("ABCDE")
    pairs = list(combinations(names, 2))
    for number in range(1 << len(pairs)):
        different = {frozenset(pair) for i, pair in enumerate(pairs) if number >> i & 1}
        letters = compact_letters(names, different)
        assert all(letters.values()) and letters["A"][0] == "a"
        for first, second in pairs:
            assert bool(set(letters[first]) & set(letters[second])) == (frozenset((first, second)) not in different)
