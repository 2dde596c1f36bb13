"""Scores of count tables."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsbench.core.episodic_scores import EpisodicScores
from fsbench.scores.answers import SegmentationResult, count
from fsbench.scores.confusion import class_accuracy
from fsbench.scores.count_table import SUPPORTS
from fsbench.scores.estimate import MetricParts
from fsbench.scores.regions import slot_regions
from fsbench.scores.run_statistics import episode_statistics, pair_statistics
from fsbench.scores.scores import (
    COMMON,
    Accuracy,
    FBIoU,
    FBIoUClasses,
    MeanIoU,
    MeanIoUByDraw,
    MeanIoUWithBackground,
)
from fsbench.scores.trivial import trivial_answers

COLUMNS = (
    "episode", "slot", "class_id", "tp", "pred", "gt", "pred_void", "void", "valid", "present", "decided", "query",
)  # fmt: skip


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
    assert scores["mIoU"] == pytest.approx(100 * (10 / 20 + 0) / 2)
    background = ((100 - 20) + (100 - 15)) / ((100 - 10) + 100)
    assert scores["FB-IoU"] == pytest.approx(50 * (10 / 35 + background))
    assert scores["accuracy"] == 50
    ignored = episode_statistics(TWO, [3, 5], "ignore").scores()
    assert ignored["FB-IoU"] == pytest.approx(50 * (10 / 30 + (80 + 70) / (90 + 80)))


def test_parts_of_a_run_leave_missing_classes_out():
    keep = (TWO["slot"] > 0).to_numpy() & (TWO["gt"] > 0).to_numpy()
    part = pair_statistics(TWO, keep, [3, 5], "background").scores()
    assert part["mIoU"] == 50 and part["accuracy"] == 100
    assert class_accuracy(np.zeros(2), np.zeros(2)) == 0  # nobody asked about any class


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


def results(episodes):
    """Count the episodes; return their results."""
    counted = []
    for i, (_, numbers, prediction, truth, decided) in enumerate(episodes):
        p, t = prediction, truth
        present = np.array([bool((truth == slot).any()) for slot in range(1, len(numbers) + 1)])
        flags = present, np.array(decided), np.array(decided, dtype=np.float32)
        counts = count(p, t, len(numbers))
        regions = slot_regions(p, t, len(numbers))
        counted.append(SegmentationResult(i, np.array(numbers), counts, *flags, p, *regions))
    return counted


@given(runs(), st.sampled_from(["background", "ignore"]))
@settings(max_examples=30, deadline=None)
def test_every_score_equals_the_plain_one(episodes, void):
    counted, summed = results(episodes), EpisodicScores([1, 2, 3, 4], void)
    rows = [row | {"query": episodes[result.episode][0]} for result in counted for row in result.rows()]
    statistics = episode_statistics(pl.DataFrame(rows), [1, 2, 3, 4], void)
    assert "FB-IoU-classes" not in statistics.scores()  # but under a protocol that defines its FB-IoU so
    metrics = (*COMMON, FBIoUClasses())
    found = replace(statistics, metrics=metrics).scores()
    expected = plain_scores(episodes, void)
    assert list(found) == [metric.name for metric in metrics if not metric.is_measured]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6 if name in ("ROM", "RUM") else 1e-9), name
    for result in counted:
        summed.update(result)
    scores = {name: expected[name] for name in ("mIoU", "FB-IoU", "accuracy")}
    assert summed.compute() == pytest.approx(scores) and summed.counted == len(counted)


def test_region_measures_are_left_out_where_they_were_not_made():
    assert "ROM" not in episode_statistics(TWO, [3, 5], "ignore").scores()
    half = TWO.with_columns(rom=pl.Series([0.5, 0.5, None, None]), rum=pl.lit(0.25))
    assert "ROM" not in episode_statistics(half, [3, 5], "ignore").scores()
    full = TWO.with_columns(rom=pl.Series([0.0, 0.5, 0.0, 0.25]), rum=pl.lit(0.25))
    scores = episode_statistics(full, [3, 5], "ignore").scores()
    assert scores["ROM"] == 0.375 and scores["RUM"] == 0.25  # of the ways; slot 0 is not mixed in
    assert not {"ROM", "RUM"} & set(trivial_answers(full)["(majority)"].columns)


def test_trivial_answers_by_hand():
    answers = trivial_answers(TWO)
    foreground = episode_statistics(answers["(all foreground)"], [3, 5], "background").scores()
    assert foreground["mIoU"] == pytest.approx(100 * (20 / 100 + 0) / 2)
    assert foreground["accuracy"] == 50
    background = episode_statistics(answers["(all background)"], [3, 5], "background").scores()
    assert background["mIoU"] == 0 and background["accuracy"] == 50
    assert background["FB-IoU"] == pytest.approx(50 * 180 / 200)
    majority = episode_statistics(answers["(majority)"], [3, 5], "background").scores()
    assert majority["FB-IoU"] == background["FB-IoU"] and majority["accuracy"] == 50


def two_ways(rng, episodes=30):
    """A count table of 2-way episodes on few queries, whose supports serve several."""
    rows = []
    for episode in range(episodes):
        classes = rng.permutation(3)[:2] + 1
        supports = [int(10 * number + rng.integers(4)) for number in classes]
        counts = [rng.integers(1, 40, 2) for _ in classes]
        ways = [(int(min(c)), int(c[0]), int(c[1])) for c in counts]
        whole = tuple(map(sum, zip(*ways, strict=True)))
        decided = [bool(rng.random() < 0.7) for _ in classes]
        for slot, (hits, predicted, true) in enumerate([whole, *ways]):
            rows.append({
                "episode": episode, "slot": slot, "class_id": int(classes[slot - 1]) if slot else 0, "tp": hits,
                "pred": predicted, "gt": true, "pred_void": 0, "void": 0, "valid": 200, "present": True,
                "decided": decided[slot - 1] if slot else True, "query": f"q{episode % 13}",
                SUPPORTS: [supports[slot - 1]] if slot else supports,
            })  # fmt: skip
    return pl.DataFrame(rows)


@pytest.mark.parametrize("seed", range(3))
def test_an_image_s_rows_are_left_out_of_pairs_and_of_whole_episodes(seed):
    """FB-IoU has sums of both: a support takes the pairs of its way, and the background of their episodes."""
    table = two_ways(np.random.default_rng(seed))
    statistics = episode_statistics(table, [1, 2, 3], "ignore")
    ways, wholes = table.filter(pl.col("slot") > 0).to_dicts(), table.filter(pl.col("slot") == 0).to_dicts()

    of_class = Counter(r["class_id"] for r in ways)

    def fb_iou(rows, episodes):
        left = Counter(r["class_id"] for r in rows)  # the test keeps as many pairs of each class
        weight = {number: of_class[number] / left[number] for number in left}
        hits = sum(weight[r["class_id"]] * r["tp"] for r in rows)
        union = sum(weight[r["class_id"]] * (r["pred"] + r["gt"] - r["tp"]) for r in rows)
        behind = [(r["valid"] - r["pred"] - r["gt"] + r["tp"], r["valid"] - r["tp"]) for r in episodes]
        return 50 * (hits / union + sum(b for b, _ in behind) / sum(u for _, u in behind))

    def exact(episodes):
        right = [all(r["decided"] for r in ways if r["episode"] == one["episode"]) for one in episodes]
        return 100 * sum(right) / len(right)

    def influences(metric, kind):
        test = MetricParts.from_statistics(metric, [statistics])
        return sorted(test.influences(test.design).by_kind[kind])

    queries = {row["query"] for row in ways}
    expected = []
    for query in queries:
        rows, episodes = ([r for r in of if r["query"] != query] for of in (ways, wholes))
        expected.append(fb_iou(ways, wholes) - fb_iou(rows, episodes))
    assert influences(FBIoU(), "query") == pytest.approx(sorted(expected))
    pairs, whole = {}, {}
    for image in {image for row in wholes for image in row[SUPPORTS]}:
        touched = {r["episode"] for r in ways if image in r[SUPPORTS]}
        rows = [r for r in ways if image not in r[SUPPORTS]]
        episodes = [r for r in wholes if r["episode"] not in touched]
        pairs[frozenset(touched)] = fb_iou(ways, wholes) - fb_iou(rows, episodes)
        whole[frozenset(touched)] = exact(wholes) - exact(episodes)
    assert influences(FBIoU(), "support") == pytest.approx(sorted(pairs.values()))
    assert influences(Accuracy(), "support") == pytest.approx(sorted(whole.values()))


@pytest.mark.parametrize(("kind", "mean"), [(MeanIoU(), 25.0), (MeanIoU("left_out"), 50.0), (MeanIoUByDraw(), 50.0)])
def test_a_class_that_no_query_shows_leaves_the_mean_or_counts_as_0(kind, mean):
    found = episode_statistics(TWO, [3, 5], "background", [kind])
    assert found.scores()[kind.name] == mean
    nothing = episode_statistics(TWO.filter(TWO["class_id"] != 3), [5], "background", [kind]).scores()[kind.name]
    assert np.isnan(nothing) == (mean == 50.0)
    both = MeanIoUWithBackground(kind.absent)
    scores = episode_statistics(TWO, [3, 5], "background", [both, FBIoU()]).scores()
    parts = 3 if kind.absent == "zero" else 2
    background = 2 * scores["FB-IoU"] - 100 * 10 / (20 + 15)
    assert scores[both.name] == pytest.approx((50.0 + background) / parts)
