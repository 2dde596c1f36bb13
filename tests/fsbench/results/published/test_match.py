"""Reported figures beside measured ones: verdicts, and the tables that show them."""

import csv
import json

import pytest
from scipy import stats

from fsbench.cli.main import main
from fsbench.results.published.match import match_published
from fsbench.results.tables.breakdowns import reported, to_sheet
from fsbench.results.tables.render import render
from fsbench.results.tables.table import build_blocks
from fsbench.scores.estimate import Estimate, Scope
from tests.fsbench.official_runs import DCAMA, EMAT
from tests.fsbench.results.scored import grid_of


def test_verdicts(official, reported):
    record = official(EMAT, "dinov2_vits14")

    def verdict(away, error=0.5, df=20.0, scope=Scope.IMAGES):
        half = stats.t.ppf(0.975, df) * error
        own = Estimate(63.4 + away, 63.4 + away - half, 63.4 + away + half, error=error, df=df, scope=scope)
        (item,) = match_published("emat", "0", {"mIoU": own}, [record], [reported])
        assert item.difference == pytest.approx(away)
        return item.verdict

    edge = stats.t.ppf(0.975, 20) * 2**0.5 * 0.5 + 0.05  # the figure has an error of its own, and was rounded
    assert [verdict(edge + 0.01), verdict(-edge - 0.01), verdict(edge - 0.01), verdict(0.01 - edge), verdict(0)] == [
        "above", "below", "not told apart", "not told apart", "not told apart",
    ]  # fmt: skip
    assert edge > 1.4 * stats.t.ppf(0.975, 20) * 0.5  # a run whose own interval leaves the figure out is not yet above
    for away in (10.0, -10.0, 0.0):  # other supports are in no such interval, and the paper's were others
        assert verdict(away, scope=Scope.THESE_SUPPORTS) == "these supports only"
    (item,) = match_published("emat", "0", {"mIoU": Estimate(70.0, scope=Scope.NONE)}, [record], [reported])
    assert item.verdict == "no interval"


def test_differences_are_a_note_under_the_table(official, figures):
    changed = {"identity": {"image_size": 400, "precision": "bf16-mixed"}}
    blocks = build_blocks([official(EMAT, "dinov2_vits14", fold, **changed) for fold in range(4)], published=figures)
    words = "image size 400 instead of 700; precision bf16-mixed instead of 32-true"
    for form in ("text", "markdown", "latex"):
        text = render(blocks, form)
        assert text.count("not comparable (1)") == 2 and text.count(f"(1) not the reported experiment: {words}") == 1
    rows = [row for row in csv.DictReader(render(blocks, "csv").splitlines()) if row["part_kind"] == "reported"]
    assert [row["rule"] for row in rows] == [f"original: not comparable: {words}"] * 2
    (block,) = json.loads(render(blocks, "json"))
    assert [(item["difference"], item["differs"]) for item in block["published"]] == [(None, words.split("; "))] * 2


def test_a_table_has_the_reported_means(official, figures):
    records = [official(EMAT, "dinov2_vits14", fold) for fold in range(4)]
    (block,) = build_blocks(records, published=figures)
    assert {(item.fold, item.metric, item.reported.value) for item in block.published} == {
        ("mean", "mIoU", 63.38), ("mean", "accuracy", 82.70),
    }  # fmt: skip
    (iou, accuracy) = sorted(block.published, key=lambda item: item.metric == "accuracy")
    assert iou.difference == pytest.approx(70 - 63.38) and iou.measured.scope == "none"
    assert iou.verdict == "no interval" and accuracy.verdict == "no interval"  # all images are alike
    table, grid = (sheet := to_sheet(block)).tables[-1], grid_of(reported(block))
    assert "(1) TF32 off here; whether the authors' GPUs had it is not known" in sheet.notes
    assert table.caption == "reported beside measured" and len(grid) == 3
    assert next(line for line in grid if line[2] == "mIoU")[3:8] == [
        "70.00", "63.38", "+6.62", "no interval (1)", "EMAT, DINOv2 ViT-S/14, fscs, original",
    ]  # fmt: skip


def test_what_can_be_compared_hides_what_cannot(official, figures):
    (block,) = build_blocks([official(DCAMA, "swin_base", task="hsnet-1way1shot-original")], published=figures)
    assert [(x.reported.stated, x.reported.backbone, x.metric) for x in block.published] == [("main", "Swin-B", "mIoU")]
    ablated = official(DCAMA | {"support_background": "zero"}, "swin_base", task="hsnet-1way1shot-original")
    (block,) = build_blocks([ablated], published=figures)
    assert [x.reported.stated for x in block.published] == ["support_background=zero"]
    other = official(DCAMA, "swin_base", task="fscs-1way1shot-original")
    (block,) = build_blocks([other], published=figures)
    words = (
        "task FS-CS instead of FSS, metrics at original, height and width instead of network input, torch nearest, "
        "void pixels (255) background instead of ignored"
    )
    assert {(x.reported.backbone, x.verdict) for x in block.published} == {
        ("Swin-B", f"not comparable: protocol fscs instead of hsnet ({words})")  # ResNets differ in more
    }
    other = official(DCAMA, "resnet101_v1", task="hsnet-1way1shot-original")
    (block,) = build_blocks([other], published=figures)
    assert {(x.reported.backbone, *x.differs) for x in block.published} == {
        (printed, f"backbone resnet101_v1 instead of {ours}")
        for printed, ours in (("Swin-B", "swin_base"), ("ResNet-50", "resnet50"), ("ResNet-101", "resnet101"))
    }


@pytest.mark.slow(1)
def test_on_the_command_line(official, tmp_path, capsys):
    official(DCAMA, "swin_base", task="hsnet-1way1shot-original")
    assert main(["table", str(tmp_path), "--no-trivial", "--published"]) == 0
    text = capsys.readouterr().out
    assert "reported beside measured" in text and "DCAMA ECCV2022 Table 1" in text
    assert main(["table", str(tmp_path), "--no-trivial", "--published", "--format", "csv"]) == 0
    rows = [row for row in csv.DictReader(capsys.readouterr().out.splitlines()) if row["part_kind"] == "reported"]
    assert [(row["fold"], row["metric"], row["value"], row["rule"]) for row in rows] == [
        ("0", "mIoU", "72.2", "main: no interval")
    ]
    assert main(["table", str(tmp_path), "--no-trivial"]) == 0
    assert "reported" not in capsys.readouterr().out
