"""Answers without a model: the best of them, and the scores that are not shown to be above."""

from math import nan

import pytest

from fsbench.results.tables.blocks import Block, Row, Subset
from fsbench.results.tables.breakdowns import to_sheet
from fsbench.results.tables.parts import ABSENT, SIZES
from fsbench.results.tables.sizes import sizes, sizes_in_full
from fsbench.results.tables.summary import BEST, summary
from fsbench.results.tables.trivial import best_without_model, is_above, no_better_than_blind
from fsbench.scores.estimate import Estimate


def row(method, fold, **scores):
    return Row(method, fold, {name: Estimate(value, value - 1, value + 1) for name, value in scores.items()})


ROWS = [
    row("emat", "0", mIoU=0.0, accuracy=40.0), row("emat", "1", mIoU=30.0, accuracy=40.0),
    row("emat", "mean", mIoU=15.0, accuracy=40.0), row("cst", "0", mIoU=21.6, accuracy=10.0),
    row("cst", "1", mIoU=19.0, accuracy=10.0), row("(all foreground)", "0", mIoU=21.6, accuracy=60.0),
    row("(all background)", "0", mIoU=0.0, accuracy=40.0), row("(all foreground)", "1", mIoU=20.0, accuracy=60.0),
]  # fmt: skip


def test_the_best_answer_of_a_fold_and_of_their_mean():
    assert best_without_model(ROWS, "0", "mIoU") == ("(all foreground)", 21.6)
    assert best_without_model(ROWS, "mean", "mIoU") == ("(all foreground)", 20.8)
    assert best_without_model(ROWS, "0", "error") is None and best_without_model(ROWS[:5], "0", "mIoU") is None
    chance = [row("(chance)", "all", accuracy=20.0)]
    assert best_without_model(chance, "all", "accuracy") == ("(chance)", 20.0)
    errors = [row("(all foreground)", "0", error=30.0), row("(all background)", "0", error=70.0)]
    assert best_without_model(errors, "0", "error") == ("(all foreground)", 30.0)


@pytest.mark.parametrize(
    ("score", "metric", "best", "expected"),
    [
        (Estimate(50, 48, 52), "mIoU", 47.9, True),
        (Estimate(50, 48, 52), "mIoU", 48.0, False),  # the interval contains it
        (Estimate(50, nan, nan), "mIoU", 49.0, True),  # without an interval the score decides
        (Estimate(50, nan, nan), "mIoU", 50.0, False),
        (Estimate(100, 100, 100), "accuracy", 100.0, True),  # nobody can be above all that can be had
        (Estimate(50, 48, 52), "error", 52.1, True),
        (Estimate(50, 48, 52), "error", 51.0, False),
        (Estimate(0, 0, 0), "error", 0.0, True),
    ],
)
def test_a_score_is_above_where_its_interval_excludes_the_best_answer(score, metric, best, expected):
    assert is_above(score, metric, best) is expected


def test_scores_that_show_nothing_are_marked_in_every_column():
    methods = [row("emat", "0", mIoU=60, accuracy=59), row("cst", "0", mIoU=21.6, accuracy=90)]
    block = Block("t", [*methods, *ROWS[5:7]], [], ("mIoU", "accuracy"), folds=4, classes={"0": 5})
    grid, *_ = summary(block)
    assert grid == [
        ["method", "mIoU 5⁰", "95 % interval", "accuracy"],
        ["emat", "60.00 ", "[59.00, 61.00]", "59.00!"],
        ["cst", "21.60!", "[20.60, 22.60]", "90.00 "],
        [BEST, "21.60 ", "", "60.00 "],
    ]
    by_fold = to_sheet(block, ["fold"]).parts[0][1]
    assert [line[2] for line in by_fold[1:3]] == ["60.00 [59.00, 61.00]", "21.60 [20.60, 22.60]!"]
    foot = to_sheet(block).foot
    assert any("! marks a score that is not shown to be above the best answer without a model" in line for line in foot)
    assert not any("! marks" in line for line in to_sheet(Block("t", methods, [], ("mIoU",))).foot)


def sized(method, *values, fold="0"):
    """A row whose mIoU has these values by object size, and whose accuracy is 50 where the class is absent."""
    parts = {
        name: Subset(9, 8, {"mIoU": Estimate(value, value - 1, value + 1)})
        for name, value in zip(SIZES, values, strict=True)
    }
    absent = Subset(7, 7, {"accuracy": Estimate(50, 40, 60)})
    return Row(method, fold, {"mIoU": Estimate(30, 20, 40)}, by_size={**parts, ABSENT: absent})


def test_object_sizes_stand_side_by_side():
    rows = [
        sized("emat", 10, 20, 30, 40),
        sized("a long name", 3.5, 21, 31, 41),
        sized("(all foreground)", 3, 8, 13, 24),
    ]
    block = Block("t", rows, [], ("mIoU", "accuracy"), folds=4, classes={"0": 5})
    assert sizes(block) == [
        ["method", "0-5 %", "5-10 %", "10-15 %", ">15 %"],
        ["emat", "10.00 ", "20.00", "30.00", "40.00"],
        ["a long name", "3.50!", "21.00", "31.00", "41.00"],
        [BEST, "3.00 ", "8.00", "13.00", "24.00"],
    ]
    full = sizes_in_full(block, "mIoU")
    assert full[1][1] == "10.00 [9.00, 11.00] " and full[-1] == ["(episode, way) pairs", *"9999"]
    assert sizes_in_full(block, "accuracy")[0][-1] == ABSENT and sizes_in_full(block, "FB-IoU") == [["method"]]
    means = [sized("emat", 1, 2, 3, 4, fold=fold) for fold in ("0", "1", "mean")] + [sized("cst", 5, 6, 7, 8)]
    assert [line[:3] for line in sizes(Block("t", means, []))] == [
        ["method", "fold", "0-5 %"],
        ["emat", "mean", "1.00"],
        ["cst", "0", "5.00"],
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
