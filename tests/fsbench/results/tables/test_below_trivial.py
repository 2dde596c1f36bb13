"""A run that is worse than an answer without a model is named in the table's notes."""

from fsbench.results.tables.below_trivial import below_trivial, no_better_than_blind
from fsbench.results.tables.blocks import Row
from fsbench.scores.estimate import Estimate


def row(method, fold, **scores):
    return Row(method, fold, {name: Estimate(value, value - 1, value + 1) for name, value in scores.items()})


ROWS = [
    row("emat", "0", mIoU=0.0, accuracy=40.0), row("emat", "1", mIoU=30.0, accuracy=40.0),
    row("emat", "mean", mIoU=15.0, accuracy=40.0), row("cst", "0", mIoU=21.6, accuracy=10.0),
    row("cst", "1", mIoU=19.0, accuracy=10.0), row("(all foreground)", "0", mIoU=21.6, accuracy=60.0),
    row("(all background)", "0", mIoU=0.0, accuracy=40.0), row("(all foreground)", "1", mIoU=20.0, accuracy=60.0),
]  # fmt: skip


def test_each_method_with_its_folds():
    assert below_trivial(ROWS, ("mIoU", "FB-IoU", "accuracy")) == [
        "emat is below an answer that needs no model (mIoU; fold 0: 0.00, (all foreground) has 21.60): its figures "
        "show nothing",
        "cst is below an answer that needs no model (mIoU; fold 1: 19.00, (all foreground) has 20.00): its figures "
        "show nothing",
    ]


def test_the_score_that_is_shown():
    (emat, cst) = below_trivial(ROWS, ("FB-IoU", "accuracy"))
    assert "(accuracy; fold 0: 40.00, (all foreground) has 60.00; fold 1: 40.00" in emat and cst.startswith("cst is")
    assert below_trivial(ROWS, ("FB-IoU",)) == [] == below_trivial(ROWS[:5], ("mIoU",))


def test_classification():
    rows = [row("nn", "all", accuracy=19.0), row("svm", "all", accuracy=21.0), row("(chance)", "all", accuracy=20.0)]
    assert below_trivial(rows, ("accuracy",)) == [
        "nn is below an answer that needs no model (accuracy; 19.00, (chance) has 20.00): its figures show nothing"
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
