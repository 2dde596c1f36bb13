"""Intervals and tests against plain loops on random designs, and what holds whatever the counts are."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fsbench.scores.auroc import RankedPairs
from fsbench.scores.calibration import BinnedErrors, PresenceCalibration, PresenceECE, bin_sums
from fsbench.scores.clusters import Design
from fsbench.scores.estimate import Estimate, MetricParts, Scope, mean_of_rows
from fsbench.scores.metric import Metric
from fsbench.scores.presence import AUROC, FalseAlarmArea
from fsbench.scores.rows import Groups, Rows, RowSum, padded
from fsbench.scores.scores import Accuracy, ErrorRate, FBIoU, MeanIoU
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.trainings import Trained, differences
from tests.fsbench.scores import plain_statistics as plain
from tests.fsbench.scores.once import differences_once, scores_once
from tests.fsbench.scores.plain_statistics import Row

CLASSES = 3


@st.composite
def designs(draw, most_shots: int = 4):
    """Rows of few images: shared by folds, used as supports and queries, asked again, each count 0 now and then."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    folds, runs, shots = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, most_shots))
    images, pool = draw(st.integers(3, 9)), draw(st.sampled_from([1, 2, 5, 20]))
    shared, both_roles = draw(st.booleans()), draw(st.booleans())
    rows = []
    for fold in range(folds):
        for cls in range(draw(st.integers(1, CLASSES))):
            base = 100 * cls + (0 if shared else 1000 * fold)
            first = base + (0 if both_roles else 50)
            for image in range(images):
                for run in range(draw(st.integers(1, runs))):
                    supports = tuple((first + rng.integers(pool, size=shots)).tolist())
                    rows.append(Row(base + image, supports, cls, fold, run, ()))
    rng.shuffle(rows)
    return rows, rng


def with_counts(rows: list[Row], rng: np.random.Generator) -> list[Row]:
    """Give rows an intersection, a union and those of the background.

    Some are without any pixel of the class; now and then all but one row are, or are all class.
    """
    counted = []
    shown, covered = rng.choice([0.85, 0.0], p=[0.9, 0.1]), rng.random() < 0.1
    for number, row in enumerate(rows):
        union = int(rng.integers(1, 50) * (rng.random() < shown or number == 0))
        hit = int(rng.integers(0, union + 1))
        pixels = hit if covered and number else 100
        union = hit if covered and number else union
        counted.append(replace(row, counts=(hit, union, pixels - union, pixels - hit)))
    return counted


def statistics_of(rows: list[Row], metric: Metric, fitted: bool = False) -> tuple[list[ScoreStatistics], list[int]]:
    """Statistics of each run, and the fold of each."""
    found, folds = [], []
    for fold, run in sorted({(row.fold, row.run) for row in rows}):
        own = [row for row in rows if (row.fold, row.run) == (fold, run)]
        found.append(ScoreStatistics(rows_of(own, fitted), sums_of(own, metric), (metric,), is_whole=False))
        folds.append(fold)
    return found, folds


def rows_of(rows: list[Row], fitted: bool = False) -> Rows:
    query, cls = (np.array([getattr(row, name) for row in rows]) for name in ("query", "cls"))
    return Rows(query, padded([row.supports for row in rows]), cls, fitted=fitted)


def sums_of(rows: list[Row], metric: Metric) -> dict:
    counts, cls = np.array([row.counts for row in rows]), np.array([row.cls for row in rows])
    if isinstance(metric, MeanIoU | FBIoU):
        sums = {name: RowSum(counts[:, i], cls, CLASSES) for i, name in enumerate(("intersection", "union"))}
        return sums | {"truth": RowSum(counts[:, 1], cls, CLASSES), "background": RowSum(counts[:, 2:])}
    if isinstance(metric, AUROC):
        return {"ranked": RankedPairs.from_scores(counts[:, 1] > 0, counts[:, 0])}
    if isinstance(metric, PresenceCalibration):
        bins = np.stack([bin_sums(*(np.array([x]) for x in (row.counts[0], row.counts[1], 1.0))) for row in rows])
        return {"presence_errors": BinnedErrors.from_sums(bins, np.array([row.query for row in rows]))}
    return {"right": RowSum(counts)}


def check(found: Estimate, expected: plain.Plain, ends: bool = True) -> None:
    assert found.scope == expected.scope
    for name in ("value", "error", "df", "p", *(["low", "high"] if ends else [])):
        own, other = getattr(found, name), getattr(expected, name)
        assert (isnan(own) and isnan(other)) or own == pytest.approx(other, rel=1e-9, abs=1e-9), name


@given(designs(), st.booleans(), st.sampled_from([(MeanIoU(), plain.miou), (FBIoU(), plain.fb_iou)]))
@settings(max_examples=15, deadline=None)
def test_scores_and_differences_are_those_of_plain_loops(design, fitted, scored):
    (rows, rng), (metric, score) = design, scored
    first, second = with_counts(rows, rng), with_counts(rows, rng)
    assume(not isnan(score(first)) and not isnan(score(second)))
    (one, folds), (other, _) = statistics_of(first, metric, fitted), statistics_of(second, metric, fitted)
    found, expected = scores_once(one, folds)[metric.name], plain.estimate(score, first, fitted=fitted)
    check(replace(found, p=expected.p), expected, ends=False)
    assert isnan(found.p) and (isnan(expected.low) or found.low == pytest.approx(max(expected.low, 0)))
    (pair,) = differences({"a": Trained.once(one, folds), "b": Trained.once(other, folds)}, [("a", "b")])[metric.name]
    check(pair.difference.these, plain.estimate(score, first, second, fitted))
    assert pair.scores == pytest.approx((score(first), score(second)))


@given(designs(), st.sampled_from([0.0, 0.6, 0.97, 1.0]))
@settings(max_examples=15, deadline=None)
def test_shares_have_the_ends_of_clopper_and_pearson(design, chance):
    rows, rng = design
    rows = [replace(row, counts=(int(rng.random() < chance), 1)) for row in rows]
    statistics, folds = statistics_of(rows, Accuracy())
    found = scores_once(statistics, folds)["accuracy"]
    assert (found.low, found.high) == pytest.approx(plain.share(rows), abs=1e-7, nan_ok=True)
    if found.has_interval:
        assert 0 <= found.low <= found.value <= found.high <= 100
    wrong = scores_once([replace(one, metrics=(ErrorRate(),)) for one in statistics], folds)["error"]
    assert (100 - wrong.high, 100 - wrong.low) == pytest.approx((found.low, found.high), abs=1e-7, nan_ok=True)


@given(designs())
@settings(max_examples=15, deadline=None)
def test_calibration_and_its_influences_are_those_of_plain_loops(design):
    rows, rng = design
    cases = [(round(float(rng.random() ** 2), 2), float(rng.random() < 0.5)) for _ in rows]
    cases[:2] = [(0.5, 1.0), (0.5, 0.0)]  # two images in one bin
    rows = [replace(row, counts=case, fold=0, run=0) for row, case in zip(rows, cases, strict=True)]
    assume(rows[0].query != rows[1].query)
    (one,), _ = statistics_of(rows, PresenceCalibration())
    check(scores_once([one])["presence-CE2"], plain.calibration(rows))


@given(designs(most_shots=2))
@settings(max_examples=15, deadline=None)
def test_auroc_leaves_out_comparisons_as_plain_loops_do(design):
    rows, rng = design
    rows = [replace(row, counts=(int(rng.integers(6)), int(rng.random() < 0.6)), fold=0, run=0) for row in rows]
    (one,), _ = statistics_of(rows, AUROC())
    found = scores_once([one])["AUROC"]
    expected = plain.estimate(plain.auroc, rows)
    check(replace(found, p=expected.p), expected, ends=False)


@given(designs())
@settings(max_examples=15, deadline=None)
def test_whatever_the_counts(design):
    """p is below 0.05 exactly where the interval excludes 0; sides, order of rows and names of images do not matter."""
    rows, rng = design
    first, second = with_counts(rows, rng), with_counts(rows, rng)
    (one, folds), (other, _) = (statistics_of(own, MeanIoU()) for own in (first, second))
    found = differences_once(one, other, folds)["mIoU"]
    if found.has_interval:
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    turned = differences_once(other, one, folds)["mIoU"]
    assert (turned.value, turned.low) == pytest.approx((-found.value, -found.high), nan_ok=True)
    order = rng.permutation(len(rows))
    renamed = [
        [replace(own[i], query=7 * own[i].query + 1, supports=tuple(7 * s + 1 for s in own[i].supports)) for i in order]
        for own in (first, second)
    ]
    (one, folds), (other, _) = (statistics_of(own, MeanIoU()) for own in renamed)
    again = differences_once(one, other, folds)["mIoU"]
    assert again.scope == found.scope
    assert again.high == pytest.approx(found.high, nan_ok=True)
    same = differences_once(one, one, folds)["mIoU"]
    assert (same.scope, same.value) == (Scope.IDENTICAL, 0) and isnan(same.p)


def regular(images: int = 24, supports: int = 8, seed: int = 0) -> list[Row]:
    """Rows of two classes in which each image is asked twice."""
    rng = np.random.default_rng(seed)
    rows = [
        Row(100 * cls + image, (100 * cls + 50 + int(rng.integers(supports)),), cls, 0, 0, ())
        for cls in range(2)
        for image in range(images // 2)
        for _ in range(2)
    ]
    return with_counts(rows, rng)


def test_what_the_images_do_not_bear_is_not_given():
    rows = regular()
    (whole,), _ = statistics_of(rows, MeanIoU())
    found = scores_once([whole])["mIoU"]
    supports = len({row.supports for row in rows})
    assert found.scope is Scope.IMAGES and (found.queries, found.supports) == (24, supports)
    unnamed = replace(whole, rows=replace(whole.rows, support=None))
    conditional = scores_once([unnamed])["mIoU"]
    kept = whole.keeping_parts()  # whose parts, with supports, a copy without them must not take
    assert scores_once([kept])["mIoU"] == found and kept.parts(MeanIoU()) is kept.parts(MeanIoU())
    assert scores_once([kept.with_given_supports()])["mIoU"] == conditional
    assert conditional.scope is Scope.THESE_SUPPORTS and conditional.supports == 0
    assert conditional.error == pytest.approx(found.variances[0] ** 0.5)


def test_supports_of_both_act_on_a_difference_of_methods_with_other_supports():
    rows = regular()
    moved = [replace(row, supports=(row.supports[0] + 10,)) for row in with_counts(rows, np.random.default_rng(5))]
    (one,), (other,) = (statistics_of(own, MeanIoU())[0] for own in (rows, moved))
    found = differences_once([other], [one])["mIoU"]
    both = [replace(a, supports=(*a.supports, *b.supports)) for a, b in zip(rows, moved, strict=True)]
    second = [replace(row, counts=own.counts) for row, own in zip(both, moved, strict=True)]
    check(found, plain.estimate(plain.miou, second, both))
    elsewhere = replace(other, rows=replace(other.rows, query=other.rows.query + 1))
    with pytest.raises(ValueError, match="other query images"):
        differences_once([elsewhere], [one])


def test_a_side_that_only_the_left_out_images_show_leaves_the_mean_of_folds():
    """The first of two folds has its only background in one query image; without it the second fold alone counts."""
    rng = np.random.default_rng(2)
    rows = with_counts([Row(image, (50 + image // 2,), 0, image // 12, 0, ()) for image in range(24)], rng)
    full = [replace(row, counts=(20, 20, 0, 0) if row.fold == 0 and row.query else (10, 20, 80, 90)) for row in rows]
    (whole, folds) = statistics_of(full, FBIoU())
    found = MetricParts.from_statistics(FBIoU(), whole, folds)
    first, second = plain.fb_iou([row for row in full if row.fold == 0]), plain.fb_iou(full[12:])
    influence = found.influences(found.design).by_kind["query"]
    assert influence[0] == pytest.approx((first + second) / 2 - second)
    expected = plain.estimate(plain.fb_iou, full)
    check(replace(scores_once(whole, folds)["FB-IoU"], p=expected.p), expected, ends=False)
    # a side that no image of a whole record shows counts as 0 in all deletions
    bare = [replace(row, counts=(*row.counts[:2], 0, 0)) for row in full[12:]]
    (one,), _ = statistics_of(bare, FBIoU())
    assert scores_once([replace(one, is_whole=True)])["FB-IoU"].value == pytest.approx(25)
    assert not scores_once([one])


def test_a_score_of_nothing_is_left_out_and_not_0():
    """Where no bin has rows of two query images there is no squared calibration error, and no difference of two."""
    rows = [Row(image, (50 + image,), 0, 0, 0, (image / 15 + 0.01, 1)) for image in range(15)]
    (undefined,), _ = statistics_of(rows, PresenceCalibration())
    (defined,), _ = statistics_of([replace(row, counts=(0.3, row.query % 2)) for row in rows], PresenceCalibration())
    assert scores_once([undefined]) == {} and "presence-CE2" in scores_once([defined])
    methods = {name: Trained.once([one]) for name, one in (("a", defined), ("b", undefined), ("c", defined))}
    (pair,) = differences(methods, [("a", "b"), ("b", "c"), ("a", "c")])["presence-CE2"]
    assert (pair.method, pair.other) == ("a", "c") and differences_once([undefined], [defined]) == {}
    nothing = ScoreStatistics(undefined.rows, {"presence_bins": RowSum(np.zeros((15, 15, 3)))}, (PresenceECE(),))
    assert scores_once([nothing]) == {} and isnan(nothing.scores()["presence-ECE"])
    present = FalseAlarmArea().compute({"false_alarms": np.array([[0.0, 0], [2, 4]])}, None)
    assert isnan(present[0]) and present[1] == 50


def test_an_expected_calibration_error_has_no_interval_and_no_test():
    bins = np.zeros((30, 15, 3))
    bins[np.arange(30), np.arange(30) % 15] = [1, 0.5, 1]
    rows = Rows(np.arange(30), np.arange(30)[:, None] + 50, np.zeros(30, int))
    one = ScoreStatistics(rows, {"presence_bins": RowSum(bins)}, (PresenceECE(),), is_whole=False)
    found = scores_once([one])["presence-ECE"]
    assert found.value == pytest.approx(50) and found.scope is Scope.NONE and not found.has_interval
    assert isnan(differences_once([one], [one])["presence-ECE"].p)


def test_the_root_of_a_squared_error_ends_at_0():
    shown = Estimate(9.0, -4.0, 16.0).root()
    assert (shown.value, shown.low, shown.high) == (3, 0, 4)
    assert Estimate(-1.0).root().value == 0 and isnan(Estimate(-1.0).root().low)


def test_a_mean_of_rows_without_clusters_is_students():
    values = np.random.default_rng(1).normal(0.3, 1, 400)
    found = mean_of_rows(values, Rows(np.arange(400), None, np.zeros(400, int)))
    error = values.std(ddof=1) / 20
    assert found.value == pytest.approx(values.mean()) and found.error == pytest.approx(error, rel=0.005)
    assert found.p < 1e-4 and found.scope is Scope.THESE_SUPPORTS


def test_several_query_images_of_a_row_count_once():
    """Ways of a classification have q query images: where none is asked twice, the error is that of the rows."""
    rng = np.random.default_rng(3)
    right = np.stack([rng.integers(2, 9, 60), np.full(60, 8)], 1)
    query, support = np.arange(60 * 8).reshape(60, 8), 1000 + np.arange(60)[:, None]
    one = ScoreStatistics(Rows(query, support, np.zeros(60, int)), {"right": RowSum(right)}, (Accuracy(),))
    apart = replace(one, rows=replace(one.rows, query=np.arange(60)))
    assert scores_once([one])["accuracy"].error == pytest.approx(scores_once([apart])["accuracy"].error)
    shared = replace(one, rows=replace(one.rows, query=query % 40))
    assert scores_once([shared])["accuracy"].queries == 40


def test_supports_that_occur_in_the_same_rows_are_one_cluster():
    support = np.array([[1, 2], [1, 2], [3, 4], [3, 5], [4, -1]])
    rows = Rows(np.arange(5), support, np.zeros(5, int))
    assert Design([rows], [0]).supports == 4  # 1 with 2, 3, 4, 5
    one_shot = replace(rows, support=np.array([[7], [-1], [8], [7], [-1]]))
    design = Design([one_shot], [0])
    assert sorted(np.bincount(design.clusters["support"].group).tolist()) == [1, 2]  # no image stands for none
    assert design.clusters["cell"].number == 5
    without = Design([replace(rows, support=np.full((5, 2), -1))], [0])
    assert "support" not in without.clusters and "support" not in without.free
    assert Design([replace(rows, query=np.array([[1, 2], [3, -1], [4, -1], [5, 6], [7, -1]]))], [0]).query_images == 7
    with pytest.raises(ValueError, match="without rows"):
        Design([rows.take(np.array([], int))], [0])


def few_sets(classes: int, pool: int = 7, images: int = 6, seed: int = 0) -> list[Row]:
    """Rows of five shots out of a pool of `pool` images in each class."""
    rng = np.random.default_rng(seed)
    rows = [
        Row(100 * cls + image, tuple((100 * cls + 50 + rng.permutation(pool)[:5]).tolist()), cls, 0, 0, ())
        for cls in range(classes)
        for image in range(images)
    ]
    return with_counts(rows, rng)


def test_a_class_is_the_cluster_of_its_supports_where_it_has_few_disjoint_sets():
    (few,), _ = statistics_of(few_sets(3), MeanIoU())
    found = scores_once([few])["mIoU"]
    assert found.scope is Scope.THESE_SUPPORTS and found.classes == 3 and found.supports > 15
    assert 1 < found.support_sets < 3
    design = Design([few.rows], [0])
    assert design.constants == (1, 1) and design.supports_of_row == 1 and len(design.roles[0]) == 0
    (many,), _ = statistics_of(few_sets(3, pool=40, images=24), MeanIoU())
    found = scores_once([many])["mIoU"]
    assert found.scope is Scope.IMAGES and found.classes == 0 and found.support_sets > 3
    (one_shot,), _ = statistics_of(regular(), MeanIoU())
    assert isnan(scores_once([one_shot])["mIoU"].support_sets)


def test_a_class_without_some_rows_counts_as_much_as_before():
    """The rest of a stratum is multiplied, a total of nothing stays 0, and rows without a place are left out."""
    values = RowSum(np.array([1, 2, 4, 8, 0]), np.array([0, 0, 1, -1, 2]), 3)
    stratum, groups = np.array([0, 0, 1, 1, 2]), Groups(np.array([0, 0, 1, 2]), np.array([0, 2, 3, 4]), 3)
    assert values.without(groups, stratum).tolist() == [[2 * 2, 0, 0], [3, 2 * 4, 0], [3, 4, 0]]
    assert replace(values, place=None).without(groups, stratum).tolist() == [4 + 16, 3 + 8, 3 + 12]
    runs = Rows(np.arange(4), None, np.array([5, 7, 7, 5]), np.array([1, 1, 2, 1]))
    assert runs.stratum.tolist() == [0, 1, 2, 0]
