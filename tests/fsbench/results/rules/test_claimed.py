"""A claimed score beside every rule that changes one word of the runs' test, against plain sums over counts."""

import json

import numpy as np
import polars as pl
import pytest

from fsbench.base.errors import RecordError, SettingsError
from fsbench.cli.main import main
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.results.rules.claimed import Claim, claimed, to_sheet
from fsbench.results.rules.rule import OWN
from tests.fsbench.runs import changed


def refuse(record, *_):
    raise RecordError("the run kept no predictions")


@pytest.fixture(scope="module")
def records(shared_make):
    """Runs of one method on both folds, with queries that do not show the class, which no test changes."""
    return [shared_make("m", fold, 3, wrong=3, spill=True) for fold in (0, 1)]


@pytest.fixture(scope="module")
def item(records):
    (found,) = claimed(records, "50.0", {}, refuse)
    return found


def of(item, label, fold="0"):
    (row,) = (row for row in item.rows if row.rule == label and row.fold == fold)
    return row.estimate.value


def pairs_of(record):
    return record.episodes.filter(pl.col("slot") > 0)


def ious(frame, *keys):
    """IoUs in percent of groups of pairs, void pixels counting as background."""
    sums = frame.group_by(keys, maintain_order=True).agg(pl.col("tp", "pred", "gt", "pred_void").sum())
    union = sums["pred"] + sums["gt"] - sums["tp"] + sums["pred_void"]
    return (100 * sums["tp"] / union).filter(union > 0).to_numpy()


def test_every_rule_follows_from_the_counts(records, item):
    own = pairs_of(records[0])
    assert of(item, OWN) == pytest.approx(ious(own, "class_id").mean())
    ignored = own.group_by("class_id").agg(pl.col("tp", "pred", "gt").sum())
    expected = 100 * ignored["tp"] / (ignored["pred"] + ignored["gt"] - ignored["tp"])
    assert of(item, "void pixels are left out") == pytest.approx(expected.mean())
    assert of(item, "mean of the IoUs of single episodes") == pytest.approx(ious(own, "episode", "slot").mean())
    assert of(item, "IoU of all classes' pixels together") == pytest.approx(ious(own.with_columns(all=1), "all").item())
    shown = own.filter(own["present"])
    assert of(item, "only queries that show a class of their episode") == pytest.approx(ious(shown, "class_id").mean())
    whole = records[0].episodes.filter(pl.col("slot") == 0)
    every, true = (whole["valid"] + whole["void"]).sum(), whole["gt"].sum()
    hits, predicted = whole["tp"].sum(), (whole["pred"] + whole["pred_void"]).sum()
    background = 100 * (every - predicted - true + hits) / (every - hits)
    both = np.append(ious(own, "class_id"), background)
    assert of(item, "mean over the classes and the background") == pytest.approx(both.mean())


def test_a_mean_is_over_the_folds(item):
    for rule in item.words:
        folds = [of(item, rule, fold) for fold in ("0", "1")]
        assert of(item, rule, "mean") == pytest.approx(sum(folds) / 2), rule
    labels = [line.cells[1].value for line in to_sheet(item).tables[0].lines]
    assert labels == ["as the protocol says", *list(item.words)[1:]] and {*item.words.values()} == {
        "",
        "void",
        "average",
        "episodes",
    }


def test_what_cannot_be_had_is_said_with_its_reason(records, item):
    label = "compared at the size that the method sees"
    assert not any(row.rule == label for row in item.rows)
    assert item.missing[0].startswith(f"{label} cannot be computed: ")
    assert "predictions that were handed in, whose input size is not known" in item.missing[0]


@pytest.mark.parametrize(
    ("claim", "value", "reached"),
    [
        ("57.6", 57.64, True),
        ("57.6", 57.66, False),
        ("57.6", 57.5501, True),
        ("58", 57.6, True),
        ("57.60", 57.606, False),
    ],
)
def test_a_claim_is_reached_to_its_digits(claim, value, reached):
    assert Claim.from_text(claim).is_reached(value) is reached


def test_the_verdict_names_the_rules_that_reach_the_claim(records, item):
    wanted = of(item, "void pixels are left out", "mean")
    (found,) = claimed(records, f"{wanted:.2f}", {}, refuse)
    assert f"m, void pixels are left out ({wanted:.2f})" in found.verdict and "is reached by: " in found.verdict
    assert to_sheet(found).lead == [*found.beside, found.verdict] and len(found.beside) == 1
    own = next(row.estimate for row in found.shown if row.rule == OWN)
    ends = f"the 95 % interval of m, [{own.low:.2f}, {own.high:.2f}]: other images of these classes"
    assert found.beside[0].startswith(f"claimed {wanted:.2f}, m {own.value:.2f}: ") and ends in found.beside[0]
    (inside,), (outside,) = (claimed(records, f"{at:.2f}", {}, refuse) for at in (own.low + 0.1, own.high + 0.1))
    assert f"lies inside {ends} may explain" in inside.beside[0]
    assert f"lies outside {ends} do not explain" in outside.beside[0]
    (none,) = claimed(records, "0.01", {}, refuse)
    assert "is reached by none of these rules; the nearest is m" in none.verdict
    assert none.verdict.endswith("scores are in percent: did you mean 1?")


def test_the_verdict_names_what_the_table_shows(records):
    """The mean of a method that has one; its folds where that is all there is, each by its number."""
    (whole,) = claimed(records, "0.01", {}, refuse)
    assert " on fold " not in whole.verdict
    part = [changed(record) for record in records]
    for record in part:
        record.__dict__["header"] = record.header.model_copy(update={"folds": 3})
    (folds,) = claimed(part, "0.01", {}, refuse)
    assert {row.fold for row in folds.shown} == {"0", "1"} and " on fold " in folds.verdict


def test_a_row_of_the_atlas_is_a_claim(records):
    entry = next(one for one in shipped_atlas().entries if ("1", "1", "mIoU") in one.cells())
    (found,) = claimed(records, entry.id, {entry.id: entry}, refuse)
    figure = entry.cells()["1", "1", "mIoU"].figure
    assert str(found.claim) == figure.printed and entry.id in found.verdict and figure.source in found.verdict


def test_the_command(records, capsys, tmp_path):
    folder = str(records[0].path.parent)
    assert main(["table", folder, "--claimed", "57.6"]) == 0
    printed = capsys.readouterr().out
    assert "57.6 is reached by" in printed and "void pixels are left out" in printed
    assert main(["table", folder, "--claimed", "57.6", "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["claimed"] == 57.6 and told["verdict"].startswith("57.6 is reached by") and told["missing"]
    assert {row["rule"] for row in told["rows"]} >= {OWN, "IoU of all classes' pixels together"}
    for words, said in (
        (["--claimed", "576"], "--claimed is '576', expected a score from 0 to 100 such as 57.6"),
        (["--claimed", "ssp-own-protocol/pascal-5i/resnet-5"], "did you mean 'ssp-own-protocol/pascal-5i/resnet-50'"),
        (["--claimed", "57.6", "--void", "ignore"], "--claimed and --void were both given"),
        (["--claimed", "57.6", "--by", "size"], "--claimed and --by size were both given"),
    ):
        assert main(["table", folder, *words]) == 2
        assert said in capsys.readouterr().err


def test_classification_has_one_score(classified):
    with pytest.raises(SettingsError, match="run of classification, which has one score"):
        claimed([classified("near", 0)], "57.6", {}, refuse)
