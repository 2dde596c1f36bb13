"""Answers without a model: the best of them, and the scores that are not shown to be above."""

from dataclasses import replace
from math import nan

import pytest

from fsbench.results.rows.parts import ABSENT, SIZES
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.breakdowns import by_fold, short_table
from fsbench.results.tables.columns import BEST
from fsbench.results.tables.render import render
from fsbench.results.tables.sizes import sizes, sizes_in_full
from fsbench.results.tables.table import build_blocks
from fsbench.results.tables.trivial import best_without_model, is_above, mark_of, no_better_than_blind
from fsbench.scores.estimate import Estimate
from tests.fsbench.official_runs import DCAMA
from tests.fsbench.results.scored import grid_of, scored
from tests.fsbench.results.scored import sized as sized_rows


def rows(method, fold, **scores):
    return scored(method, fold, {name: Estimate(value, value - 1, value + 1) for name, value in scores.items()})


NAMES = ("all foreground", "all background", "majority")
ANSWERS = [
    *rows("(all foreground)", "0", mIoU=21.6, accuracy=60.0), *rows("(all background)", "0", mIoU=0.0, accuracy=40.0),
    *rows("(all foreground)", "1", mIoU=20.0, accuracy=60.0), *rows("(all foreground)", "mean", mIoU=20.8),
]  # fmt: skip


def test_the_best_answer_of_a_fold_and_of_their_mean():
    assert best_without_model(ANSWERS, "0", "mIoU") == ("(all foreground)", 21.6)
    assert best_without_model(ANSWERS, "mean", "mIoU") == ("(all foreground)", 20.8)
    assert best_without_model(ANSWERS, "0", "error") is None and best_without_model([], "0", "mIoU") is None
    chance = rows("(chance)", "all", accuracy=20.0)
    assert best_without_model(chance, "all", "accuracy") == ("(chance)", 20.0)
    errors = rows("(all foreground)", "0", error=30.0) + rows("(all background)", "0", error=70.0)
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


def test_a_row_is_marked_by_the_answers_on_images_of_its_own_size(official):
    """Truth is counted at the size of a method's input, where the answers that need no model have other scores."""
    runs = [official(DCAMA, "r", task="hsnet-1way1shot-original", identity={"image_size": side}) for side in (96, 473)]
    (block,) = build_blocks(runs, trivial=True, by=())
    methods = list(block.sides)
    assert list(block.sides.values()) == [96, 473] and len(block.answers) == 6 * len(block.metrics)
    for method, side in block.sides.items():
        own = block.answers_beside(method)
        assert {row.method for row in own} == {f"({name}) at {side} px" for name in NAMES}
        assert best_without_model(own, "0", "mIoU")[1] == pytest.approx(100 * 700 / side**2)
    (alone,) = build_blocks(runs[:1], trivial=True, by=())
    assert {row.method for row in alone.answers_beside(methods[0])} == {f"({name})" for name in NAMES}
    low = Estimate(5, 4, 6)  # above what needs no model of 473 px, not above that of 96 px
    assert mark_of(block.answers_beside(methods[0]), "0", "mIoU", low) == "!"
    assert mark_of(block.answers_beside(methods[1]), "0", "mIoU", low) == ""


def test_scores_that_show_nothing_are_marked_in_every_column():
    methods = rows("emat", "0", mIoU=60, accuracy=59) + rows("cst", "0", mIoU=21.6, accuracy=90)
    block = Block("t", [*methods, *ANSWERS[:4]], [], ("mIoU", "accuracy"), folds=4, classes={"0": 5})
    assert grid_of(short_table(block)) == [
        ["method", "mIoU 5⁰", "95 % interval", "accuracy"],
        ["emat", "60.00 ", "[59.00, 61.00]", "59.00!"],
        ["cst", "21.60!", "[20.60, 22.60]", "90.00 "],
        [BEST, "21.60 ", "", "60.00 "],
    ]
    assert [line[2] for line in grid_of(by_fold(block, "mIoU"))[1:3]] == [
        "60.00 [59.00, 61.00] ",
        "21.60 [20.60, 22.60]!",
    ]
    foot = render([block], "text")
    assert "!: may be no better than an answer without a model" in foot
    assert "! marks" not in render([Block("t", methods, [], ("mIoU",))], "text")


def sized(method, *values, fold="0"):
    """Rows whose mIoU has these values by object size, and whose accuracy is 50 where the class is absent."""
    parts = {name: Estimate(value, value - 1, value + 1) for name, value in zip(SIZES, values, strict=True)}
    return [
        *scored(method, fold, {"mIoU": Estimate(30, 20, 40)}),
        *sized_rows(method, fold, "mIoU", parts),
        *sized_rows(method, fold, "accuracy", {ABSENT: Estimate(50, 40, 60)}, 7),
    ]


def test_object_sizes_stand_side_by_side():
    lines = [
        *sized("emat", 10, 20, 30, 40),
        *sized("a long name", 3.5, 21, 31, 41),
        *sized("(all foreground)", 3, 8, 13, 24),
    ]
    block = Block("t", lines, [], ("mIoU", "accuracy"), folds=4, classes={"0": 5})
    assert grid_of(sizes(block)) == [
        ["method", "0-5 %", "5-10 %", "10-15 %", ">15 %"],
        ["emat", "10.00 ", "20.00", "30.00", "40.00"],
        ["a long name", "3.50!", "21.00", "31.00", "41.00"],
        [BEST, "3.00 ", "8.00", "13.00", "24.00"],
    ]
    full = grid_of(sizes_in_full(block, "mIoU"))
    assert full[1][1] == "10.00 [9.00, 11.00] " and full[-1] == ["(episode, way) pairs", "9 ", *"999"]
    assert sizes_in_full(block, "accuracy").columns[-1].head == ABSENT and not sizes_in_full(block, "FB-IoU").lines
    means = [row for fold in ("0", "1", "mean") for row in sized("emat", 1, 2, 3, 4, fold=fold)]
    means += sized("cst", 5, 6, 7, 8)
    assert [line[:3] for line in grid_of(sizes(Block("t", means, [])))] == [
        ["method", "fold", "0-5 %"],
        ["emat", "mean", "1.00"],
        ["cst", "0", "5.00"],
    ]


def test_a_method_that_is_not_above_a_baseline_without_supports_is_named():
    found = [
        *rows("blind_full", "0", mIoU=30.0),
        *rows("blind_saliency", "0", mIoU=33.25),
        *rows("emat", "0", mIoU=33.25),
        *rows("cst", "0", mIoU=33.26),
        *rows("emat", "1", mIoU=1.0),
        *rows("(all foreground)", "0", mIoU=99.0),
    ]
    block = Block("t", found, [], ("mIoU",), blind=["blind_full", "blind_saliency"])
    assert no_better_than_blind(block) == [
        "emat scores no higher than a baseline that sees no support (mIoU, fold 0: 33.25, blind_saliency has 33.25). "
        "Nothing shows that emat uses its supports"
    ]
    assert no_better_than_blind(replace(block, rows=found[2:])) == []
    assert no_better_than_blind(replace(block, metrics=("FB-IoU",))) == []
