"""Scores with intervals from count tables."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from fsbench.scores.bootstrap import FEW_EPISODES, differences, intervals, resampled_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from fsbench.scores.answers import SegmentationResult, count
from fsbench.scores.classification import accuracy_interval
from fsbench.scores.regions import slot_regions
from fsbench.scores.run_statistics import episode_statistics, pair_statistics
from fsbench.scores.scores import COMMON, FBIoUClasses
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.trivial import trivial_answers

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
    scores = episode_statistics(TWO, [3, 5], "background").scores()
    assert scores["mIoU"][0] == pytest.approx(100 * (10 / 20 + 0) / 2)
    background = ((100 - 20) + (100 - 15)) / ((100 - 10) + 100)
    assert scores["FB-IoU"][0] == pytest.approx(50 * (10 / 35 + background))
    assert scores["accuracy"][0] == 50
    ignored = episode_statistics(TWO, [3, 5], "ignore").scores()
    assert ignored["FB-IoU"][0] == pytest.approx(50 * (10 / 30 + (80 + 70) / (90 + 80)))


def test_parts_of_a_run_leave_missing_classes_out():
    keep = (TWO["slot"] > 0).to_numpy() & (TWO["gt"] > 0).to_numpy()
    part = pair_statistics(TWO, keep, [3, 5], "background").scores()
    assert part["mIoU"][0] == 50 and part["accuracy"][0] == 100


def same_sums(pixels):
    """Statistics of a perfect method whose classes have these pixels (Q, C)."""
    ones = np.ones((len(pixels), 2))
    sums = {"intersection": pixels, "union": pixels, "truth": pixels, "background": ones, "right": ones}
    return ScoreStatistics(len(pixels), sums, COMMON)


def test_a_class_that_a_resample_misses_is_no_zero():
    rare = same_sums(np.array([[10, 0]] * 9 + [[0, 10]]))
    assert intervals([rare])["mIoU"].low == 100
    never = same_sums(np.array([[10, 0]] * 9))
    assert intervals([never])["mIoU"].high == 50


def random_sums(clusters, seed=0):
    rng = np.random.RandomState(seed)
    union = rng.randint(50, 100, (clusters, 3))
    sums = {
        "intersection": (union * rng.rand(clusters, 3)).astype(int), "union": union, "truth": union,
        "background": np.tile([90, 100], (clusters, 1)),
        "right": np.stack([rng.randint(0, 4, clusters), np.full(clusters, 3)], 1),
    }  # fmt: skip
    return ScoreStatistics(clusters, sums, COMMON)


def test_the_totals_of_a_resample_are_those_of_the_drawn_images_one_after_the_other():
    sums = random_sums(7).with_sums({"decisions": np.random.RandomState(1).randint(0, 9, (7, 3, 2))})
    drawn = np.random.RandomState(2).randint(0, 7, (4, 7))
    totals = sums.totals(np.stack([np.bincount(images, minlength=7) for images in drawn]))
    for name in ("intersection", "union", "background", "right", "decisions"):
        array = sums.sums[name]
        assert (totals[name] == np.stack([sum(array[image] for image in images) for images in drawn])).all()
    assert (sums.totals()["decisions"] == sums.sums["decisions"].sum(0)).all() and "foreground" not in totals


def test_intervals_are_percentiles_of_the_resampled_scores():
    """However many query images there are: few draws are kept as they are multiplied, many as bytes."""
    for clusters in (20, 1500):
        sums = random_sums(clusters)
        drawn = np.random.default_rng(0).multinomial(clusters, np.full(clusters, 1 / clusters), size=2000)
        found = intervals([sums])
        for name, values in sums.scores(drawn.astype(float)).items():
            assert (found[name].low, found[name].high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def test_intervals_shrink_with_the_square_root_of_the_query_images():
    widths = [intervals([random_sums(n)])["mIoU"] for n in (100, 1600)]
    ratio = (widths[0].high - widths[0].low) / (widths[1].high - widths[1].low)
    assert 3 < ratio < 5.3
    for interval in widths:
        assert interval.low < interval.value < interval.high


def test_whole_query_images_are_resampled():
    """Copies of the same ten images are no new evidence: the interval stays as wide as that of ten."""
    few = random_sums(10)
    many = replace(few, sums={name: array * 100 for name, array in few.sums.items()})
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
    sums = ScoreStatistics(800, {"right": np.stack([right, np.ones(800)], 1)}, COMMON)
    interval = intervals([sums])["accuracy"]
    error = 196 * np.sqrt(right.mean() * (1 - right.mean()) / 800)
    assert interval.high - interval.value == pytest.approx(error, rel=0.12)
    assert interval.value - interval.low == pytest.approx(error, rel=0.12)


@st.composite
def runs(draw):
    """Episodes (query, classes, prediction, truth, decided) of 1 to 3 ways out of classes 1..4; void is there."""
    episodes = []
    for i in range(draw(st.integers(1, 5))):
        rng = np.random.RandomState(draw(st.integers(0, 10**6)))
        ways = draw(st.integers(1, 3))
        truth = rng.choice([*range(ways + 1), 255], (6, 7)) if i % 3 else np.zeros((6, 7), int)
        prediction = rng.randint(0, ways + 1, (6, 7))
        episodes.append((f"q{i // 2}", rng.permutation(4)[:ways] + 1, prediction, truth, rng.rand(ways) < 0.5))
    return episodes


def plain_scores(episodes, void):
    """Every score, written from its definition with loops over episodes and boolean maps."""
    classes = [1, 2, 3, 4]
    sums = {c: np.zeros(5) for c in classes}  # intersection, union, truth, right, decisions
    background, foreground, exact, rom, rum = np.zeros(2), np.zeros(2), [], [], []
    for _, numbers, prediction, truth, decided in episodes:
        shown = truth != 255
        counted = shown if void == "ignore" else np.ones_like(shown)
        present = [bool((truth == slot).any()) for slot in range(1, len(numbers) + 1)]
        for slot, number in enumerate(numbers, 1):
            p, t = (prediction == slot) & counted, truth == slot
            right = present[slot - 1] == decided[slot - 1]
            sums[number] += [(p & t).sum(), (p | t).sum(), t.sum(), right, 1]
        p, t = (prediction > 0) & counted, (truth > 0) & shown
        foreground += [(p & t).sum(), (p | t).sum()]
        background += [(~p & ~t & counted).sum(), (~(p & t) & counted).sum()]
        exact.append(present == decided.tolist())
        measured = slot_regions(prediction, truth, len(numbers))
        rom += measured[0][1:].tolist()
        rum += measured[1][1:].tolist()
    each = np.array([sums[c] for c in classes])
    iou = each[:, 0] / np.maximum(each[:, 1], 1)
    asked = each[each[:, 4] > 0]
    b, f = background[0] / max(background[1], 1), foreground[0] / max(foreground[1], 1)
    of_class = 100 * np.mean(asked[:, 3] / asked[:, 4])
    return {
        "mIoU": 100 * iou.mean(),
        "FB-IoU": 50 * (each[:, 0].sum() / max(each[:, 1].sum(), 1) + b),
        "accuracy": 100 * np.mean(exact),
        "error": 100 * (1 - np.mean(exact)),
        "way-error": 100 * (1 - each[:, 3].sum() / each[:, 4].sum()),
        "class-accuracy": of_class,
        "class-error": 100 - of_class,
        "pixel-accuracy": 100 * np.mean(each[:, 0] / np.maximum(each[:, 2], 1)),
        "FB-IoU-any": 50 * (f + b),
        "FB-IoU-classes": 50 * (iou.mean() + b),
        "ROM": np.mean(rom),
        "RUM": np.mean(rum),
    }


def count_table(episodes):
    rows = []
    for i, (query, numbers, prediction, truth, decided) in enumerate(episodes):
        p, t = prediction, truth
        present = np.array([bool((truth == slot).any()) for slot in range(1, len(numbers) + 1)])
        flags = present, np.array(decided), np.array(decided, dtype=np.float32)
        counts = count(p, t, len(numbers))
        result = SegmentationResult(i, np.array(numbers), counts, *flags, p, *slot_regions(p, t, len(numbers)))
        rows += [row | {"query": query} for row in result.rows()]
    return pl.DataFrame(rows)


@given(runs(), st.sampled_from(["background", "ignore"]))
@settings(max_examples=30, deadline=None)
def test_every_score_equals_the_plain_one(episodes, void):
    statistics = episode_statistics(count_table(episodes), [1, 2, 3, 4], void)
    assert "FB-IoU-classes" not in statistics.scores()  # but under a protocol that defines its FB-IoU so
    metrics = (*COMMON, FBIoUClasses())
    found = replace(statistics, metrics=metrics).scores()
    expected = plain_scores(episodes, void)
    assert list(found) == [metric.name for metric in metrics if not metric.is_measured]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, abs=1e-6 if name in ("ROM", "RUM") else 1e-9), name


def test_region_measures_are_left_out_where_they_were_not_made():
    assert "ROM" not in episode_statistics(TWO, [3, 5], "ignore").scores()
    half = TWO.with_columns(rom=pl.Series([0.5, 0.5, None, None]), rum=pl.lit(0.25))
    assert "ROM" not in episode_statistics(half, [3, 5], "ignore").scores()
    full = TWO.with_columns(rom=pl.Series([0.0, 0.5, 0.0, 0.25]), rum=pl.lit(0.25))
    scores = episode_statistics(full, [3, 5], "ignore").scores()
    assert scores["ROM"][0] == 0.375 and scores["RUM"][0] == 0.25  # of the ways; slot 0 is not mixed in
    assert not {"ROM", "RUM"} & set(trivial_answers(full)["(majority)"].columns)


def test_the_difference_of_two_ways_to_score_is_that_of_the_same_resamples():
    table = count_table([(f"q{i}", np.array([1]), *maps, np.array([True])) for i, maps in enumerate(random_maps(30))])
    own, other = (episode_statistics(table, [1], void) for void in ("background", "ignore"))
    moved = differences([own], [other])["mIoU"]
    assert moved.value == pytest.approx(other.scores()["mIoU"][0] - own.scores()["mIoU"][0])
    assert 0 < moved.low < moved.value < moved.high
    whole = intervals([own])["mIoU"]
    assert moved.high - moved.low < (whole.high - whole.low) / 2  # what both have in common cancels
    assert differences([own], [own])["mIoU"] == type(moved)(0, 0, 0)


def random_maps(number):
    rng = np.random.RandomState(0)
    for _ in range(number):
        truth = rng.choice([0, 1, 255], (12, 12), p=[0.5, 0.4, 0.1])
        yield np.where(rng.rand(12, 12) < rng.uniform(0.5, 1), truth == 1, truth != 1).astype(int), truth


def test_trivial_answers_by_hand():
    answers = trivial_answers(TWO)
    foreground = episode_statistics(answers["(all foreground)"], [3, 5], "background").scores()
    assert foreground["mIoU"][0] == pytest.approx(100 * (20 / 100 + 0) / 2)
    assert foreground["accuracy"][0] == 50
    background = episode_statistics(answers["(all background)"], [3, 5], "background").scores()
    assert background["mIoU"][0] == 0 and background["accuracy"][0] == 50
    assert background["FB-IoU"][0] == pytest.approx(50 * 180 / 200)
    majority = episode_statistics(answers["(majority)"], [3, 5], "background").scores()
    assert majority["FB-IoU"] == background["FB-IoU"] and majority["accuracy"][0] == 50


@pytest.mark.slow(3)
def test_intervals_of_few_episodes_hold_the_truth_too_rarely():
    """Below `FEW_EPISODES`, for the bootstrap and for standard errors; with many episodes both keep what they promise.

    Episodes are drawn again and again from a population whose accuracy is known: a third are hard.
    """
    rng = np.random.default_rng(0)
    repetitions, images = 600, 100
    truth = 100 * (0.3 / 3 + 0.9 * 2 / 3)

    def coverage(episodes: int) -> tuple[float, float]:
        hits = np.zeros(2)
        for _ in range(repetitions):
            chance = np.where(rng.random(episodes) < 1 / 3, 0.3, 0.9)
            right = np.stack([rng.binomial(images, chance), np.full(episodes, images)], 1)
            statistics = ScoreStatistics(len(right), {"right": right}, COMMON)
            ends = (intervals([statistics], resamples=400)["accuracy"], accuracy_interval(statistics))
            hits += [interval.low <= truth <= interval.high for interval in ends]
        bootstrap, normal = hits / repetitions
        return float(bootstrap), float(normal)

    few, edge, many = coverage(10), coverage(FEW_EPISODES - 20), coverage(400)
    error = (0.95 * 0.05 / repetitions) ** 0.5
    assert all(value < 0.95 - 5 * error for value in few), few
    assert all(few[kind] < edge[kind] < 0.95 for kind in (0, 1)), (few, edge)
    assert all(abs(value - 0.95) < 3 * error for value in many), many
