"""The figure of each rule is the one that tables give, or that a plain loop over the episodes gives."""

from dataclasses import replace

import numpy as np
import pytest

from fsbench.doors.truths import open_truth
from fsbench.results.tables.rescoring.recount import recount
from fsbench.results.tables.rescoring.rescore import Choices, rescore
from fsbench.results.why.changes import (
    AbsentChange,
    ClassChange,
    FirstEpisodes,
    FoldChange,
    LargeObjects,
    ScoreChange,
    SizeChange,
    VoidChange,
    changes,
)
from fsbench.results.why.evidence import gather
from fsbench.results.why.rules import FoldCounts, RunCounts
from tests.fsbench.results.why.conftest import drawn_fold


def plain_ious(fold, keep=lambda row: True, void="ignore"):
    """Return (class, intersection, union) of the episodes that are kept, one after the other."""
    found = []
    for row in fold.frame.filter(fold.frame["slot"] == 1).iter_rows(named=True):
        if keep(row):
            union = row["pred"] + row["gt"] - row["tp"] + (row["pred_void"] if void == "background" else 0)
            found.append((row["class_id"], row["tp"], union))
    return found


def pooled(found, classes):
    sums = {number: [0, 0] for number in classes}
    for number, intersection, union in found:
        sums[number][0] += intersection
        sums[number][1] += union
    return 100 * np.mean([top / max(bottom, 1) for top, bottom in sums.values()])


def test_rules_are_those_of_a_plain_loop(one_fold):
    (fold,) = one_fold.folds
    classes, own = fold.header.class_ids, one_fold.rule

    def figure(*made):
        rule = own
        for change in made:
            rule = change.changed(rule)
        return one_fold.figure(rule)

    assert figure() == pytest.approx(pooled(plain_ious(fold), classes))
    assert figure(VoidChange("background")) == pytest.approx(pooled(plain_ious(fold, void="background"), classes))
    first = plain_ious(fold, lambda row: row["episode"] < 70)
    assert figure(FirstEpisodes(70)) == pytest.approx(pooled(first, classes))
    large = plain_ious(fold, lambda row: row["gt"] >= 2048)
    assert figure(LargeObjects()) == pytest.approx(pooled(large, classes))
    left, name = classes[2], fold.header.class_names[str(classes[2])]
    others = plain_ious(fold, lambda row: row["class_id"] != left)
    assert figure(ClassChange(left, name)) == pytest.approx(pooled(others, [n for n in classes if n != left]))
    both = plain_ious(fold, lambda row: row["class_id"] != left and row["episode"] < 70, "background")
    made = ClassChange(left, name), FirstEpisodes(70), VoidChange("background")
    assert figure(*made) == pytest.approx(pooled(both, [n for n in classes if n != left]))
    every = plain_ious(fold)
    iou = [100 * intersection / union for _, intersection, union in every]
    assert figure(ScoreChange("mean of the episodes' IoU")) == pytest.approx(np.mean(iou))
    by_class = [
        np.mean([value for value, (n, *_) in zip(iou, every, strict=True) if n == number]) for number in classes
    ]
    assert figure(ScoreChange("mean of the episodes' IoU by class")) == pytest.approx(np.mean(by_class))
    foreground = 100 * sum(top for _, top, _ in every) / sum(bottom for *_, bottom in every)
    assert figure(ScoreChange("pooled foreground IoU")) == pytest.approx(foreground)
    rows = fold.frame.filter(fold.frame["slot"] == 0)
    union = (rows["pred"] + rows["gt"] - rows["tp"]).sum()
    background = 100 * (rows["valid"].sum() - union) / (rows["valid"].sum() - rows["tp"].sum())
    assert figure(ScoreChange("FB-IoU")) == pytest.approx((foreground + background) / 2)
    with_background = (figure() * len(classes) + background) / (len(classes) + 1)
    assert figure(ScoreChange("confusion with background")) == pytest.approx(with_background)


def test_a_class_without_an_episode_follows_its_rule():
    fold = drawn_fold(0)
    absent = fold.header.class_ids[0]
    run = RunCounts([FoldCounts(fold.header, fold.frame.filter(fold.frame["episode"].is_in(
        fold.frame.filter(fold.frame["class_id"] == absent)["episode"].implode()).not_()))])  # fmt: skip
    zero = run.figure(run.rule)
    assert run.figure(AbsentChange("left_out").changed(run.rule)) == pytest.approx(zero * 5 / 4)
    assert np.isnan(run.figure(AbsentChange("nan").changed(run.rule)))


def test_folds_are_averaged_and_one_stands_alone(four_folds):
    by_fold = four_folds.by_fold(four_folds.rule)
    assert four_folds.figure(four_folds.rule) == pytest.approx(np.mean(list(by_fold.values())))
    assert four_folds.figure(FoldChange(2).changed(four_folds.rule)) == pytest.approx(by_fold[2])
    assert four_folds.estimate(four_folds.rule).value == pytest.approx(np.mean(list(by_fold.values())))


def test_an_effect_is_the_paired_difference_of_tables(one_fold):
    """The table's own difference of two rules for void pixels, to the last digit, interval included."""
    from fsbench.scores.estimate import gains

    (fold,) = one_fold.folds
    sides = [fold.protocol.statistics_with_void(fold.frame, fold.header, void) for void in ("ignore", "background")]
    theirs, ours = gains(sides[:1], sides[1:])["mIoU"], one_fold.effect(VoidChange("background").changed(one_fold.rule))
    assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high), abs=1e-12)
    # rows that a rule leaves out stay in the design: a change of the rows has an interval, too
    first = one_fold.effect(FirstEpisodes(100).changed(one_fold.rule))
    assert first.has_interval and first.low < first.value < first.high


def test_each_promised_figure_is_what_a_table_by_it_gives(demo_run):
    """Void rules and sizes, counted by `fsbench table --void` and `--resolution` one by one and here in one pass."""
    record = demo_run.record
    truth = open_truth(record, test=demo_run.test)
    run = gather([record], lambda _: truth).run

    def rescored(**choice):
        (group,) = rescore(
            [record],
            None,
            Choices(**choice),
            lambda record, side, geometry=None: recount(record, truth, side, geometry),
        )
        return group.lines[-1].scores["mIoU"].value

    def promised(change):
        return run.figure(change.changed(run.rule))

    assert run.figure(run.rule) == demo_run.scores["mIoU"]
    assert promised(VoidChange("background")) == rescored(void="background")
    for side in (256, 512):
        assert promised(SizeChange(f"fixed {side}")) == rescored(resolution=side)
    assert promised(ScoreChange("FB-IoU")) == pytest.approx(demo_run.scores["FB-IoU"], abs=1e-12)
    two = VoidChange("background").changed(SizeChange("fixed 256").changed(run.rule))
    counts = recount(record, truth, 256)
    protocol = record.protocol
    assert run.figure(two) == protocol.statistics_with_void(counts, record.header, "background").scores()["mIoU"]


def test_changes_that_a_run_can_follow(one_fold, four_folds, demo_run):
    axes = {change.axis for change in changes(four_folds)}
    assert axes == {"void", "metric", "absent classes", "folds", "classes", "episodes_per_fold", "min_object"}
    assert "folds" not in {change.axis for change in changes(one_fold)}
    no_void = replace(one_fold.folds[0], header=one_fold.folds[0].header.model_copy(update={"dataset": "coco"}))
    words = [change.word for change in changes(RunCounts([no_void])) if change.axis == "void"]
    assert words == ["class-pooled mIoU, present only"]


def test_shared_sums_give_the_figures_of_statistics(four_folds):
    """Figures are taken of sums by class that many rules share; each is that of the rule's own statistics."""
    made = changes(four_folds)
    for place, one in enumerate(made):
        other = made[(7 * place + 3) % len(made)]
        for rule in (one.changed(four_folds.rule), other.changed(one.changed(four_folds.rule))):
            for fold in four_folds.folds:
                whole = fold.statistics(rule).scores()[rule.metric.name]
                assert fold.figure(rule) == pytest.approx(whole, abs=1e-10, nan_ok=True)
