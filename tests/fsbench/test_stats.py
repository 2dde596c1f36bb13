"""Scores with intervals from count tables."""

import numpy as np
import polars as pl
import pytest

from fsbench.stats import Sums, episode_sums, intervals, pair_sums, resampled_scores
from fsbench.trivial import trivial_answers

COLUMNS = [
    "episode",
    "slot",
    "class_id",
    "tp",
    "pred",
    "gt",
    "pred_void",
    "void",
    "valid",
    "present",
    "decided",
    "query",
]


def frame(*rows):
    return pl.DataFrame([dict(zip(COLUMNS, row, strict=True)) for row in rows])


TWO = frame(  # episode 0: way is class 3, half found; episode 1: way is class 5, not there, 10 wrong pixels, 5 on void
    (0, 0, 0, 10, 10, 20, 0, 0, 100, True, True, "a"),
    (0, 1, 3, 10, 10, 20, 0, 0, 100, True, True, "a"),
    (1, 0, 0, 0, 10, 0, 5, 20, 80, False, True, "b"),
    (1, 1, 5, 0, 10, 0, 5, 20, 80, False, True, "b"),
)


def test_scores_of_a_run_by_hand():
    scores = episode_sums(TWO, [3, 5], "background").scores()
    assert scores["mIoU"][0] == pytest.approx(100 * (10 / 20 + 0) / 2)
    background = ((100 - 20) + (100 - 15)) / ((100 - 10) + 100)
    assert scores["FB-IoU"][0] == pytest.approx(50 * (10 / 35 + background))
    assert scores["accuracy"][0] == 50
    ignored = episode_sums(TWO, [3, 5], "ignore").scores()
    assert ignored["FB-IoU"][0] == pytest.approx(50 * (10 / 30 + (80 + 70) / (90 + 80)))


def test_parts_of_a_run_leave_missing_classes_out():
    keep = (TWO["slot"] > 0).to_numpy() & (TWO["gt"] > 0).to_numpy()
    part = pair_sums(TWO, keep, [3, 5], "background").scores()
    assert part["mIoU"][0] == 50 and part["accuracy"][0] == 100


def test_a_class_that_a_resample_misses_is_no_zero():
    rare = Sums(
        np.array([[10, 0]] * 9 + [[0, 10]]), np.array([[10, 0]] * 9 + [[0, 10]]), np.ones((10, 2)), np.ones((10, 2))
    )
    assert intervals([rare])["mIoU"].low == 100
    never = Sums(np.array([[10, 0]] * 9), np.array([[10, 0]] * 9), np.ones((9, 2)), np.ones((9, 2)))
    assert intervals([never])["mIoU"].high == 50


def random_sums(clusters, seed=0):
    rng = np.random.RandomState(seed)
    union = rng.randint(50, 100, (clusters, 3))
    return Sums(
        (union * rng.rand(clusters, 3)).astype(int), union, np.tile([90, 100], (clusters, 1)),
        np.stack([rng.randint(0, 4, clusters), np.full(clusters, 3)], 1),
    )  # fmt: skip


def test_intervals_shrink_with_the_square_root_of_the_query_images():
    widths = [intervals([random_sums(n)])["mIoU"] for n in (100, 1600)]
    ratio = (widths[0].high - widths[0].low) / (widths[1].high - widths[1].low)
    assert 3 < ratio < 5.3
    for interval in widths:
        assert interval.low < interval.value < interval.high


def test_whole_query_images_are_resampled():
    """Copies of the same ten images are no new evidence: the interval stays as wide as that of ten."""
    few = random_sums(10)
    many = Sums(*(np.repeat(array, 1, 0) * 100 for array in (few.intersection, few.union, few.background, few.right)))
    assert intervals([few])["mIoU"].high == pytest.approx(intervals([many])["mIoU"].high)


def test_the_mean_of_folds_is_the_mean_of_their_scores():
    parts = [random_sums(50, seed) for seed in range(4)]
    both = intervals(parts)["mIoU"]
    assert both.value == pytest.approx(np.mean([part.scores()["mIoU"][0] for part in parts]))
    assert both.high - both.low < intervals(parts[:1])["mIoU"].high - intervals(parts[:1])["mIoU"].low


def test_resamples_are_reproducible():
    first, second = (resampled_scores(random_sums(20), 50, seed=3)["accuracy"] for _ in range(2))
    assert (first == second).all()


def test_interval_agrees_with_scipys_normal_theory():
    """Accuracy of single-episode images is a mean of 0/1: the bootstrap interval is close to ±1.96 standard errors."""
    rng = np.random.RandomState(0)
    right = (rng.rand(800) < 0.7).astype(int)
    zero = np.zeros((800, 1))
    sums = Sums(zero, zero, np.zeros((800, 2)), np.stack([right, np.ones(800)], 1))
    interval = intervals([sums])["accuracy"]
    error = 196 * np.sqrt(right.mean() * (1 - right.mean()) / 800)
    assert interval.high - interval.value == pytest.approx(error, rel=0.12)
    assert interval.value - interval.low == pytest.approx(error, rel=0.12)


def test_trivial_answers_by_hand():
    answers = trivial_answers(TWO)
    foreground = episode_sums(answers["(all foreground)"], [3, 5], "background").scores()
    assert foreground["mIoU"][0] == pytest.approx(100 * (20 / 100 + 0) / 2)
    assert foreground["accuracy"][0] == 50
    background = episode_sums(answers["(all background)"], [3, 5], "background").scores()
    assert background["mIoU"][0] == 0 and background["accuracy"][0] == 50
    assert background["FB-IoU"][0] == pytest.approx(50 * 180 / 200)
    majority = episode_sums(answers["(majority)"], [3, 5], "background").scores()
    assert majority["FB-IoU"] == background["FB-IoU"] and majority["accuracy"][0] == 50
