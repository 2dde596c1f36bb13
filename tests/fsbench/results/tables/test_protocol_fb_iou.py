"""Under a protocol with an FB-IoU of its own, everything that nobody asks for other scores shows that one."""

import re

import polars as pl
import pytest

from fsbench.cli.main import main
from fsbench.protocols.reading import metric_named
from fsbench.results.comparison.compare import compare_tests
from fsbench.results.measuring.recount import recount
from fsbench.results.rows.comparable import compared_tests
from fsbench.results.rules.rescore import Choices, rescore
from fsbench.results.tables.table import build_blocks
from tests.fsbench.runs import rewrite


def under_fssdino(record):
    """The record as of a run under fssdino."""
    return rewrite(record, header={"protocol": "fssdino", "version": 1, "seed": 0})


def by_hand(record) -> float:
    """Mean of mIoU and the background's IoU, from the counts; void is background."""
    sums = record.episodes.group_by("class_id").agg(pl.col("tp", "pred", "pred_void", "gt", "void", "valid").sum())
    union = pl.col("pred") + pl.col("pred_void") + pl.col("gt") - pl.col("tp")
    classes = sums.filter(pl.col("class_id") > 0).select(pl.col("tp") / union)["tp"].sum()
    pixels = pl.col("void") + pl.col("valid")
    background = sums.filter(pl.col("class_id") == 0).select((pixels - union) / (pixels - pl.col("tp")))
    return 50 * (classes / len(record.header.class_ids) + background.item())


@pytest.fixture(scope="module")
def runs(shared_make):
    """Two runs under fssdino, which no test changes."""
    return [
        under_fssdino(shared_make(name, 0, quality, spill=True, empty=False))
        for name, quality in (("good", 1), ("bad", 3))
    ]


def test_tables(runs):
    (block,) = build_blocks(runs)
    assert block.metrics == ("mIoU", "FB-IoU-classes", "accuracy")
    assert [scores["FB-IoU-classes"].value for scores in block.lines.values()] == pytest.approx(
        [by_hand(run) for run in runs]
    )
    (asked,) = build_blocks(runs, metrics=("mIoU", "FB-IoU", "accuracy"))
    assert list(next(iter(asked.lines.values()))) == [
        "mIoU",
        "FB-IoU",
        "accuracy",
    ]  # who asks for a score is shown that score


def test_comparisons(runs, capsys):
    (comparison,) = compare_tests(compared_tests([run.path for run in runs]))
    assert list(comparison.tables["all"]) == ["mIoU", "FB-IoU-classes", "accuracy"]
    (line,) = comparison.tables["all"]["FB-IoU-classes"]
    expected = {"good": by_hand(runs[0]), "bad": by_hand(runs[1])}
    assert line.scores == pytest.approx([expected[line.method], expected[line.minus]])
    assert main(["compare", *(str(run.path) for run in runs)]) == 0
    printed = capsys.readouterr().out.replace(metric_named("FB-IoU-classes").meaning, "")
    assert re.search(r"\bFB-IoU\b(?!-)", printed) is None


def test_rescoring(runs):
    (group,) = rescore(runs[:1], None, Choices(), recount)
    assert group.metrics == ("mIoU", "FB-IoU-classes", "accuracy")
    (score,) = (row.estimate for row in group.rows if row.metric == "FB-IoU-classes")
    assert score.value == pytest.approx(by_hand(runs[0]))


def test_other_protocols_do_not_have_it(make):
    record = make("m", 0, 2)
    scores = record.protocol.statistics(record.episodes, record.header).scores()
    assert "FB-IoU" in scores and "FB-IoU-classes" not in scores
    (block,) = build_blocks([record])
    assert block.metrics == ("mIoU", "FB-IoU", "accuracy")
