"""Counts and scores against a plain numpy implementation of fscs-protocol §7 on random episodes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fsbench.core.episodic_scores import EpisodicScores
from fsbench.scores.answers import SegmentationResult, count, presence_from_mask
from fsbench.scores.confusion import (
    background_intersection_union,
    class_accuracy,
    fb_iou,
    intersection_union,
    mean_iou,
    pixel_accuracy,
)


def maps(ways, void):
    shape = st.tuples(st.integers(1, 7), st.integers(1, 9))
    values = st.sampled_from([*range(ways + 1), *([255] if void else [])])
    return shape.flatmap(
        lambda s: st.tuples(
            hnp.arrays(np.uint8, s, elements=st.integers(0, ways)), hnp.arrays(np.uint8, s, elements=values)
        )
    )


@st.composite
def episodes(draw):
    """(classes, prediction, truth, present, decided) with 1 to 3 ways out of classes 1..5."""
    ways = draw(st.integers(1, 3))
    classes = draw(st.permutations(range(1, 6)))[:ways]
    prediction, truth = draw(maps(ways, void=True))
    flags = st.lists(st.booleans(), min_size=ways, max_size=ways)
    return classes, prediction, truth, draw(flags), draw(flags)


def plain_scores(cases, class_ids, void):
    """mIoU, FB-IoU and accuracy, written from the formulas with loops and sets of pixels."""
    inter, union, exact = dict.fromkeys([0, *class_ids], 0), dict.fromkeys([0, *class_ids], 0), 0
    for classes, prediction, truth, present, decided in cases:
        if void == "ignore":
            keep = truth != 255
            prediction, truth = prediction[keep], truth[keep]
        else:
            truth = np.where(truth == 255, 0, truth)
        for slot, number in enumerate([0, *classes]):
            p, t = prediction == slot, truth == slot
            inter[number] += (p & t).sum()
            union[number] += (p | t).sum()
        exact += present == decided
    iou = [inter[c] / max(union[c], 1) for c in class_ids]
    foreground = sum(inter[c] for c in class_ids) / max(sum(union[c] for c in class_ids), 1)
    background = inter[0] / max(union[0], 1)
    return 100 * np.mean(iou), 50 * (foreground + background), 100 * exact / len(cases)


@given(st.lists(episodes(), min_size=1, max_size=6), st.sampled_from(["background", "ignore"]))
@settings(max_examples=60, deadline=None)
def test_scores_equal_the_plain_formulas(cases, void):
    class_ids = [1, 2, 3, 4, 5]
    scores = EpisodicScores(class_ids, void)
    for i, (classes, prediction, truth, present, decided) in enumerate(cases):
        counts = count(prediction, truth, len(classes))
        flags = np.array(present), np.array(decided)
        scores.update(SegmentationResult(i, np.array(classes), counts, *flags, flags[1], np.empty(0)))
    found = scores.compute()
    expected = plain_scores(cases, class_ids, void)
    np.testing.assert_allclose([found["mIoU"], found["FB-IoU"], found["accuracy"]], expected, rtol=1e-12)


@given(maps(3, void=True))
@settings(max_examples=40, deadline=None)
def test_counts_of_every_slot(pair):
    prediction, truth = pair
    counts = count(prediction, truth, 3)
    void = truth == 255
    for slot in range(4):
        p = (prediction > 0) if slot == 0 else (prediction == slot)
        t = ((truth > 0) & ~void) if slot == 0 else (truth == slot)
        assert counts[slot].tolist() == [
            (p & t).sum(), (p & ~void).sum(), t.sum(), (p & void).sum(), void.sum(), (~void).sum()
        ]  # fmt: skip


def test_sums_come_before_the_division():
    """Two episodes of one class: 1 of 1 and 1 of 9 pixels. The field's IoU is 2/10, not the mean of 1 and 1/9."""
    small, large = np.ones((1, 1), dtype=np.int64), np.ones((3, 3), dtype=np.int64)
    hit = np.zeros((3, 3), dtype=np.int64)
    hit[0, 0] = 1
    total = count(small, small, 1) + count(hit, large, 1)
    intersection, union = intersection_union(total[1:], "background")
    assert mean_iou(intersection, union) == 20.0


def test_void_is_background_or_nothing():
    prediction, truth = np.array([[1, 1, 0, 0]]), np.array([[1, 255, 255, 0]])
    counts = count(prediction, truth, 1)
    assert [int(x) for x in intersection_union(counts[1], "background")] == [1, 2]
    assert [int(x) for x in intersection_union(counts[1], "ignore")] == [1, 1]
    assert [int(x) for x in background_intersection_union(counts[0], "background")] == [2, 3]
    assert [int(x) for x in background_intersection_union(counts[0], "ignore")] == [1, 1]


def test_fb_iou_takes_the_foreground_of_all_classes_together():
    score = fb_iou(np.array([1, 30]), np.array([2, 40]), (np.array(50), np.array(100)))
    assert score == 50 * (31 / 42 + 0.5)


def test_presence_derived_from_the_mask():
    one_pixel = np.zeros((3, 4), dtype=np.uint8)
    one_pixel[2, 1] = 1
    assert presence_from_mask(one_pixel, 2)[0].tolist() == [True, False]
    decided, score = presence_from_mask(np.array([[0, 2], [2, 0]]), 3)
    assert decided.tolist() == [False, True, False]
    assert score.tolist() == [0.0, 0.5, 0.0]


def test_classes_never_sampled_count_as_zero():
    scores = EpisodicScores([1, 2], "background")
    mask, yes = np.ones((2, 2), dtype=np.uint8), np.array([True])
    scores.update(SegmentationResult(0, np.array([1]), count(mask, mask, 1), yes, yes, yes, mask))
    assert scores.compute()["mIoU"] == 50.0


@given(hnp.arrays(np.int64, (4, 2), elements=st.integers(0, 9)))
@settings(max_examples=40, deadline=None)
def test_class_accuracy_leaves_out_classes_that_nobody_asked_about(pairs):
    right, total = np.minimum(pairs[:, 0], pairs[:, 1]), pairs[:, 1]
    shares = [r / t for r, t in zip(right, total, strict=True) if t]
    expected = 100 * sum(shares) / len(shares) if shares else 0
    np.testing.assert_allclose(class_accuracy(right, total), expected, rtol=1e-12)


def test_pixel_accuracy_is_what_was_found_of_the_truth():
    assert pixel_accuracy(np.array([3, 0, 0]), np.array([4, 5, 0])) == 25.0
