"""Paired differences: against plain loops, and by simulation of experiments whose true difference is known."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from fsbench.scores.bootstrap import differences, intervals, resampled_scores, resampled_together
from fsbench.scores.paired import episodes_needed, holm, indistinguishable, paired_differences, swapped_differences
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, norm

from fsbench.scores.scores import COMMON
from fsbench.scores.statistics import ScoreStatistics

IMAGES, CLASSES = 80, 3
ARRAYS = ("intersection", "union", "truth")


def experiment(rng, images=IMAGES, gain=0.04, episodes=3):
    """Two methods on `images` query images of about `episodes` episodes: how hard an image is, both share, and it is
    the same in all of its episodes. `other` finds `gain` more of each union on average."""
    hard = rng.beta(4, 2, (images, 1))
    number = rng.poisson(episodes - 1, images) + 1
    union = np.round(rng.gamma(2, 500, (images, CLASSES)) * number[:, None]) * (rng.random((images, CLASSES)) < 0.6)

    def method(shift):
        iou = np.clip(hard + shift + rng.normal(0, 0.08, (images, 1)), 0, 1)
        whole = union.astype(np.int64)
        right = rng.binomial(number, np.clip(hard[:, 0] + shift, 0, 1))
        sums = {"intersection": (union * iou).astype(np.int64), "union": whole, "truth": whole}
        return ScoreStatistics(images, sums | {"right": np.stack([right, number], 1)}, COMMON, is_whole=False)

    return method(0.0), method(gain)


@pytest.fixture(scope="module")
def truth():
    """Differences of two endless experiments' scores."""
    first, second = experiment(np.random.default_rng(99), images=500_000)
    return {name: float(second.scores()[name][0] - first.scores()[name][0]) for name in ("mIoU", "accuracy")}


def test_95_of_100_intervals_hold_the_true_difference(truth):
    held = {name: [] for name in truth}
    for seed in range(400):
        moved = differences(*([sums] for sums in experiment(np.random.default_rng(seed))), resamples=400)
        for name, true in truth.items():
            held[name].append(moved[name].low <= true <= moved[name].high)
    for name, inside in held.items():  # of 400, at a true rate of 0.95, nearly all counts are within 0.92 and 0.98
        assert 0.915 <= np.mean(inside) <= 0.985, name


def test_intervals_that_do_not_cluster_are_too_narrow():
    """The same simulation with every image's episodes taken for independent: what the clusters are good for."""
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        right = rng.random(60) < 0.5  # an image's 6 episodes are all right or all wrong
        outcomes = np.repeat(right, 6)
        loose = ScoreStatistics(360, {"right": np.stack([outcomes, np.ones(360)], 1)}, COMMON)
        whole = ScoreStatistics(60, {"right": np.stack([right * 6, np.full(60, 6)], 1)}, COMMON)
        ends = [np.percentile(resampled_scores(s, 400)["accuracy"], [2.5, 97.5]) for s in (loose, whole)]
        held.append([low <= 50 <= high for low, high in ends])
    without, with_clusters = np.mean(held, 0)
    assert without < 0.75 and 0.9 < with_clusters <= 0.985


@pytest.mark.slow(3)
def test_the_swap_test_errs_in_5_of_100_where_there_is_no_difference():
    p = []
    for seed in range(300):
        first, second = experiment(np.random.default_rng(seed), images=50, gain=0)
        found = paired_differences({"a": [first], "b": [second]}, [("a", "b")], resamples=300)
        p.append([found[name][0].p for name in ("mIoU", "accuracy")])
    below = (np.array(p) <= 0.05).mean(0)
    assert (below >= 0.015).all() and (below <= 0.09).all(), below


@pytest.mark.slow(3)
def test_the_named_number_of_episodes_has_the_named_power():
    """A pilot says how many episodes are needed; so many find the difference in about 80 of 100 experiments."""
    first, second = experiment(np.random.default_rng(7), images=4000, gain=0.03)
    (pilot,) = paired_differences({"a": [first], "b": [second]}, [("a", "b")], resamples=300)["mIoU"]
    images = episodes_needed(pilot.difference.value, pilot.error, 4000)
    assert 10 < images < 400
    found = []
    for seed in range(250):
        pair = experiment(np.random.default_rng(1000 + seed), images=images, gain=0.03)
        moved = differences(*([sums] for sums in pair), resamples=300)["mIoU"]
        found.append(moved.low > 0)
    assert 0.7 < np.mean(found) < 0.9


def test_needed_episodes_by_hand():
    z = norm.ppf(0.975) + norm.ppf(0.8)
    assert episodes_needed(z, 1.0, 1000) == 1000
    assert episodes_needed(-z / 2, 1.0, 1000) == 4000
    assert episodes_needed(0.0, 1.0, 1000) is None
    assert episodes_needed(5.0, 0.0, 1000) == 1


def test_swaps_of_few_images_are_the_exact_test():
    """With six images all 64 ways to swap can be listed."""
    rng = np.random.default_rng(3)
    first, second = experiment(rng, images=6, gain=0.1)
    (found,) = paired_differences({"a": [first], "b": [second]}, [("a", "b")], resamples=5000)["mIoU"]

    def score(i, u):
        seen = u.sum(0) > 0
        return 100 * (i.sum(0)[seen] / u.sum(0)[seen]).mean()

    ours, theirs = first.sums["intersection"], second.sums["intersection"]
    sides = [
        (np.where(m, theirs, ours), np.where(m, ours, theirs))
        for m in (np.array(bits)[:, None] for bits in product([False, True], repeat=6))
    ]
    union = first.sums["union"]
    every = [score(mine, union) - score(other, union) for mine, other in sides]
    exact = np.mean(np.abs(every) >= abs(every[0]) - 1e-9)
    assert every[0] == pytest.approx(found.difference.value)
    assert found.p == pytest.approx(exact, abs=0.015)


def test_resamples_are_the_same_for_all_methods_and_as_for_one():
    first, second = experiment(np.random.default_rng(0))
    together = resampled_together([first, second], 1500, seed=2)
    for sums, drawn in zip((first, second), together, strict=True):
        alone = resampled_scores(sums, 1500, seed=2)
        assert all((alone[name] == drawn[name]).all() for name in alone) and len(drawn["mIoU"]) == 1500
    (same,) = paired_differences({"a": [first], "b": [first]}, [("a", "b")], 200)["mIoU"]
    assert same.difference == type(same.difference)(0, 0, 0) and same.p == 1


@st.composite
def two_methods(draw):
    """Sums of two methods on the same truth: classes that are never shown, pixels of them that are predicted."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    truth = rng.integers(1, 50, (8, 4)) * (rng.random((8, 4)) < draw(st.sampled_from([0.1, 0.6])))
    truth[:, : draw(st.integers(0, 3))] = 0

    def method():
        found = rng.integers(0, truth + 1)
        stray = rng.integers(0, 9, truth.shape) * (rng.random(truth.shape) < 0.2)
        flags = np.stack([rng.integers(0, 2, truth.shape), np.ones_like(truth)], -1)
        background = np.sort(rng.integers(1, 99, (8, 2)))
        sums = {
            "intersection": found, "union": truth + stray, "truth": truth, "background": background,
            "right": flags.sum(1), "foreground": background, "decisions": flags,
        }  # fmt: skip
        return ScoreStatistics(8, sums, COMMON, draw(whole))

    whole = st.just(draw(st.booleans()))
    return method(), method()


@given(two_methods())
@settings(max_examples=25, deadline=None)
def test_swapping_nothing_and_swapping_all_is_what_was_found(both):
    first, second = both
    found = swapped_differences(first, second, np.array([[0.0] * 8, [1.0] * 8]))
    for name, (none, every) in found.items():
        observed = second.scores()[name][0] - first.scores()[name][0]
        assert (none, every) == pytest.approx((-observed, observed), abs=1e-9), name
    assert set(found) == set(first.scores())


def test_a_stray_pixel_of_a_class_that_is_never_shown_moves_no_interval():
    first, second = (replace(sums, is_whole=True) for sums in experiment(np.random.default_rng(1)))
    never = [s.with_sums({n: np.pad(s.sums[n], ((0, 0), (0, 1))) for n in ARRAYS}) for s in (first, second)]
    stray = never[1].with_sums({"union": never[1].sums["union"].copy()})
    stray.sums["union"][0, -1] = 1
    (without,) = paired_differences({"a": never[:1], "b": never[1:]}, [("a", "b")], 500)["mIoU"]
    (found,) = paired_differences({"a": never[:1], "b": [stray]}, [("a", "b")], 500)["mIoU"]
    assert found == without
    assert intervals([stray])["mIoU"] == intervals([never[1]])["mIoU"]
    shown = intervals([second])["mIoU"]
    assert intervals([stray])["mIoU"].high == pytest.approx(shown.high * CLASSES / (CLASSES + 1))


def test_folds_are_averaged():
    rng = np.random.default_rng(5)
    folds = [experiment(rng) for _ in range(3)]
    parts = {"a": [a for a, _ in folds], "b": [b for _, b in folds]}
    (found,) = paired_differences(parts, [("a", "b")], 500)["mIoU"]
    means = [np.mean([sums.scores()["mIoU"][0] for sums in side]) for side in parts.values()]
    assert found.scores == pytest.approx(tuple(means))
    assert found.difference.value == pytest.approx(means[0] - means[1])
    moved = differences(parts["b"], parts["a"], 500)["mIoU"]
    assert (moved.low, moved.high) == pytest.approx((found.difference.low, found.difference.high))


def test_holm_by_hand_and_never_above_bonferroni():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    p = np.random.default_rng(0).random(20) ** 3
    adjusted = np.array(holm(p))
    assert (adjusted <= np.minimum(20 * p, 1) + 1e-12).all() and (adjusted >= p).all()
    assert (adjusted >= false_discovery_control(p) - 1e-12).all()  # Holm holds the stricter promise
    assert adjusted[p.argmin()] == pytest.approx(p.min() * 20)


def test_methods_that_are_alike_stand_in_the_longest_stretches():
    apart = {frozenset(pair) for pair in ("ac", "ad", "bd", "ae", "be", "ce", "de")}
    assert indistinguishable("abcde", apart) == [["a", "b"], ["b", "c"], ["c", "d"]]
    assert indistinguishable("abc", set()) == [["a", "b", "c"]]
    assert indistinguishable("ab", {frozenset("ab")}) == []
