"""A run that is worse than an answer without a model is named in the table's notes."""

import re
from math import nan

from fsbench.results.tables.below_trivial import below_trivial, no_better_than_blind
from fsbench.results.tables.blocks import Row, Subset
from fsbench.scores.estimate import Estimate


def row(method, fold, **scores):
    return Row(method, fold, {name: Estimate(value, value - 1, value + 1) for name, value in scores.items()})


ROWS = [
    row("emat", "0", mIoU=0.0, accuracy=40.0), row("emat", "1", mIoU=30.0, accuracy=40.0),
    row("emat", "mean", mIoU=15.0, accuracy=40.0), row("cst", "0", mIoU=21.6, accuracy=10.0),
    row("cst", "1", mIoU=19.0, accuracy=10.0), row("(all foreground)", "0", mIoU=21.6, accuracy=60.0),
    row("(all background)", "0", mIoU=0.0, accuracy=40.0), row("(all foreground)", "1", mIoU=20.0, accuracy=60.0),
]  # fmt: skip


def test_each_method_with_the_scores_that_do_not_show_it_above():
    """Below, or with an interval that contains the answer's: on each fold, and in each score that is shown."""
    assert below_trivial(ROWS, ("mIoU",)) == [
        "emat is below an answer that needs no model (mIoU, fold 0: 0.00 [-1.00, 1.00], (all foreground) has 21.60): "
        "that shows nothing",
        "cst is not shown to be above an answer that needs no model (mIoU, fold 0: 21.60 [20.60, 22.60], (all "
        "foreground) has 21.60): that shows nothing",
        "cst is below an answer that needs no model (mIoU, fold 1: 19.00 [18.00, 20.00], (all foreground) has 20.00): "
        "that shows nothing",
    ]
    (emat, cst) = below_trivial(ROWS, ("accuracy",))
    assert emat.count("40.00 [39.00, 41.00], (all foreground) has 60.00") == 2 and cst.startswith("cst is")
    assert below_trivial(ROWS, ("FB-IoU",)) == [] == below_trivial(ROWS[:5], ("mIoU",))
    assert below_trivial(ROWS, ("mIoU", "accuracy"))[0].count("accuracy, fold") == 2


def test_an_interval_that_contains_the_answer_and_another_score_that_is_below_it():
    def scored(name: str, *scores: Estimate, size: float = 50) -> Row:
        own = dict(zip(("mIoU", "FB-IoU", "accuracy"), scores, strict=True))
        return Row(name, "all", own, by_size={"0-5": Subset(9, 9, {"mIoU": Estimate(size, size - 1, size + 1)})})

    full = Estimate(100, 100, 100)
    foreground = scored("(all foreground)", Estimate(9.54, 9, 10), Estimate(20, 20, 20), full, size=3)
    background = scored("(all background)", Estimate(0, 0, 0), Estimate(47.5, 47, 48), full, size=0)
    wide = scored("wide", Estimate(9.86, 4.81, 14.91), Estimate(60, 55, 65), full)
    below = scored("below", Estimate(40, 38, 42), Estimate(47.4, 47.2, 47.49), full)
    small = scored("small", Estimate(40, 38, 42), Estimate(60, 55, 65), full, size=3.5)
    sure = scored("sure", Estimate(40, 38, 42), Estimate(60, 55, 65), full)
    alone = scored("alone", Estimate(9.6, nan, nan), Estimate(47, nan, nan), full)  # without intervals
    lines = below_trivial([wide, below, small, sure, alone, foreground, background], ("mIoU", "FB-IoU", "accuracy"))
    assert [re.sub(r".*model \((.*)\): that.*", r"\1", line) for line in lines] == [
        "mIoU: 9.86 [4.81, 14.91], (all foreground) has 9.54",
        "FB-IoU: 47.40 [47.20, 47.49], (all background) has 47.50",
        "mIoU of objects 0-5 %: 3.50 [2.50, 4.50], (all foreground) has 3.00",
        "FB-IoU: 47.00, (all background) has 47.50",
    ]


def test_classification():
    rows = [row("nn", "all", accuracy=19.0), row("svm", "all", accuracy=21.5), row("(chance)", "all", accuracy=20.0)]
    assert below_trivial(rows, ("accuracy",)) == [
        "nn is below an answer that needs no model (accuracy: 19.00 [18.00, 20.00], (chance) has 20.00): that shows "
        "nothing"
    ]


def test_a_method_that_is_not_above_a_baseline_without_supports_is_named():
    def row(method: str, fold: str, value: float, sees_supports: bool = True) -> Row:
        return Row(method, fold, {"mIoU": Estimate(value, value, value)}, sees_supports=sees_supports)

    rows = [
        row("blind_full", "0", 30.0, False),
        row("blind_saliency", "0", 33.25, False),
        row("emat", "0", 33.25),
        row("cst", "0", 33.26),
        row("emat", "1", 1.0),
        row("(all foreground)", "0", 99.0),
    ]
    assert no_better_than_blind(rows, ["mIoU"]) == [
        "emat is not above a baseline that sees no support (mIoU; fold 0: 33.25, blind_saliency has 33.25): nothing "
        "here shows that it uses its supports"
    ]
    assert no_better_than_blind(rows[2:], ["mIoU"]) == no_better_than_blind(rows, ["FB-IoU"]) == []
