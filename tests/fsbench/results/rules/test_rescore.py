"""Another protocol's metric on the same predictions: what counts decide, and what they do not."""

import csv
import io
import json
from dataclasses import replace
from math import isnan

import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.protocols.reading import load_protocol, load_segmentation, protocol_names
from fsbench.results.rows.row import COLUMNS, rows_frame
from fsbench.results.rules.rescore import Choices, rescore, to_sheet, undefined
from fsbench.results.rules.rule import OWN
from fsbench.results.sheets.fitting import cell_texts
from tests.fsbench.runs import changed, rewrite

FSCS, PFENET, HSNET, INCONTEXT = (load_protocol(name) for name in ("fscs", "pfenet", "hsnet", "incontext"))


@pytest.fixture(scope="module")
def spilled(shared_make):
    """A run that shows the truth on every second row, and way 1 on its void pixels. No test changes it."""
    return shared_make("m", 0, quality=2, spill=True)


@pytest.fixture(scope="module")
def whole(shared_make):
    """A run whose predictions are the truth. No test changes it."""
    return shared_make("m", 0)


def no_predictions(record, *_):
    raise RecordError("the run kept no predictions")


def rescored(records, target, recount=no_predictions):
    (group,) = rescore(records, target, Choices(), recount)
    return group


def scores(group, rule, fold="0"):
    """The scores of a rule by metric, without those that cannot be had."""
    return values(group.ruled.rows, rule, fold)


def moves(group, rule, fold="0"):
    """The differences to the run's own scores by metric."""
    return values(group.ruled.differences, rule, fold)


def values(rows, rule, fold):
    found = {row.metric: row.estimate for row in rows if (row.rule, row.fold) == (rule, fold)}
    return {metric: score for metric, score in found.items() if not isnan(score.value)}


def rules(group):
    return list(dict.fromkeys(row.rule for row in group.ruled.rows))


def test_void_policy_by_hand(spilled):
    group = rescored([spilled], PFENET)
    assert rules(group) == [OWN, "metric of pfenet v1, same episodes", "only presence: any_pixel"]
    own, other = (scores(group, rule) for rule in rules(group)[:2])
    sums = spilled.episodes.filter(pl.col("slot") == 1).group_by("class_id").agg(
        pl.col("tp", "pred", "gt", "pred_void").sum()
    )  # fmt: skip
    tp, union = sums["tp"], sums["pred"] + sums["gt"] - sums["tp"]
    assert own["mIoU"].value == pytest.approx(100 * (tp / (union + sums["pred_void"])).sum() / 3)
    assert other["mIoU"].value == pytest.approx(100 * (tp / union).sum() / 3)
    moved = moves(group, "metric of pfenet v1, same episodes")
    assert moved["mIoU"].value == pytest.approx(other["mIoU"].value - own["mIoU"].value)
    assert moved["mIoU"].low < moved["mIoU"].value < moved["mIoU"].high and moved["mIoU"].value > 0  # of 8 supports
    assert moved["accuracy"].value == 0 and not moves(group, OWN)


def test_every_figure_is_a_row(spilled):
    group = rescored([spilled], PFENET)
    frame = rows_frame(group.rows)
    differences = frame.filter(pl.col("minus") != "")
    assert set(differences["minus"]) == set(frame["method"]) == {"m"} and OWN not in set(differences["rule"])
    assert set(frame["pairs"]) == set(frame["episodes"]) == {24} and set(frame["run"]) == {spilled.path.name}
    written = {f"{value:+.2f}" for value in frame["value"]} | {f"{value:.2f}" for value in frame["value"]}
    (table,) = to_sheet(group).tables
    cells = zip(*cell_texts(table)[3:], strict=True)
    assert {cell.partition(" ")[0] for line in cells for cell in line} <= {*written, ""}


def test_presence_from_the_mask_counts_void_pixels_too(make):
    """Decisions were right but for 6 episodes; the masks show the way where any pixel, void or not, is predicted."""
    record = make("m", 0, quality=1, spill=True, wrong=6)
    group = rescored([record], FSCS)
    ways = record.episodes.filter(pl.col("slot") == 1)
    derived = (ways["pred"] + ways["pred_void"] > 0) == ways["present"]
    assert scores(group, "only presence: any_pixel")["accuracy"].value == pytest.approx(100 * derived.mean())
    assert derived.mean() < 1  # void of other objects was predicted in some empty queries
    moved = moves(group, "only presence: any_pixel")
    assert moved["accuracy"].value == pytest.approx(100 * derived.mean() - 75) and moved["mIoU"].value == 0


def test_methods_that_only_segment_have_no_other_presence(whole):
    assert not any("presence" in rule for rule in rules(rescored([changed(whole, presence="any_pixel")], PFENET)))


def test_another_resolution_needs_predictions_and_void_alone_does_not(spilled):
    record = changed(spilled, {"image_size": 32})
    group = rescored([record], HSNET)
    rule = "metric of hsnet v1, same episodes"
    assert not scores(group, rule) and rule in rules(group)
    (missing,) = group.ruled.missing
    reason = "hsnet counts pixels at the method's input size, the run's counts are at the query's original size"
    assert missing.startswith(f"{rule} cannot be computed: {reason}") and missing in group.notes
    assert missing.endswith("evaluate again under hsnet; stored predictions: the run kept no predictions")
    expected = scores(rescored([spilled], PFENET), "metric of pfenet v1, same episodes")
    assert scores(group, "only void: ignore") == expected
    (missing,) = rescored([changed(spilled, {"image_size": 10**9})], HSNET).ruled.missing
    assert missing.endswith("run.json has the image size 1000000000; expected a side from 1 to 4096")


def test_stored_predictions_give_another_resolution(spilled):
    """At the input size, or at that of the other test."""
    record = changed(spilled, {"image_size": 32})
    asked = []

    def recount(of, side):
        asked.append((of, side))
        return of.episodes.with_columns(tp=pl.col("tp") // 2)

    group = rescored([record], HSNET, recount)
    found = scores(group, "metric of hsnet v1, same episodes")
    assert "metric of hsnet v1, same episodes: of stored masks, counted at the method's input size" in group.notes
    assert asked == [(record, 32)] and found["mIoU"].value < scores(group, "only void: ignore")["mIoU"].value
    group = rescored([record], INCONTEXT, recount)
    assert scores(group, "metric of incontext v1, same episodes")
    assert "metric of incontext v1, same episodes: of stored masks, counted at 1024 x 1024" in group.notes
    assert asked[1:] == [(record, 1024)]


def test_the_truth_of_another_test_is_resized_by_its_rule_or_it_cannot_be_had(spilled):
    """PMMs' truth goes to the input's size and back, VAT's there by OpenCV; no mask lies in RePRI's letterbox."""
    record, asked = changed(spilled, {"image_size": 32}), []

    def recount(of, side, view=None):
        asked.append((side, view and (view.query_size, view.resize)))
        return of.episodes

    for row in ("pmms-rpmms", "vat", "repri"):
        group = rescored([record], load_segmentation(f"atlas:{row}/pascal-5i"), recount)
    assert asked == [(0, ("there_and_back", "pil_both")), (32, ("input", "cv2"))]
    (refused,) = [rule for rule in rules(group) if rule.startswith("metric of ")]
    assert not scores(group, refused) and "evaluate again under" in group.ruled.missing[0]


def test_a_class_without_an_episode_counts_as_the_other_test_has_it(make):
    """FPTrans leaves it out of the mean, HMNet's program counts it as 0."""
    record = make("m", 0, quality=2)
    shown = record.header.class_ids
    names = record.manifest.entries["class_names"] | {"99": "absent"}
    lacking = rewrite(record, header={"class_ids": [*shown, 99], "class_names": names})
    left_out, zero = (
        scores(rescored([lacking], load_segmentation(name)), f"metric of {name} v1, same episodes")["mIoU"].value
        for name in ("atlas:fptrans/pascal-5i", "pfenet")
    )
    assert zero == pytest.approx(left_out * len(shown) / (len(shown) + 1)) and zero > 0


def test_several_ways_under_a_protocol_of_one_are_not_defined(make):
    record = make("m", 0, quality=2, way=2)
    assert undefined(record, FSCS, PFENET) == "pfenet knows one way, the run has up to 2"
    group = rescored([record], PFENET)
    own = scores(group, OWN)
    assert group.metrics == ("mIoU", "FB-IoU", "FB-IoU-any", "accuracy")
    assert own["FB-IoU-any"].value >= own["FB-IoU"].value
    assert "metric of pfenet v1, same episodes cannot be computed: pfenet knows one way" in group.ruled.missing[0]


def test_the_own_protocol_is_not_shown_twice(whole):
    group = rescored([whole], FSCS)
    assert to_sheet(group).tables[0].lines[0].cells[2].value == "own metric: fscs v1"
    assert not [rule for rule in rules(group) if rule.startswith("metric of")]


def test_readers_are_told_whose_episodes_these_are(whole):
    group = rescored([whole], PFENET)
    text = "\n".join(group.notes)
    assert "the episodes were drawn and predicted under fscs; a score of pfenet needs a run under pfenet" in text
    assert "queries may be empty here; under pfenet every query shows the class" in text
    assert "a trial, not a result: 24 episodes, and the protocol has 1000" in text
    earlier = changed(whole)
    earlier.__dict__["header"] = whole.header.model_copy(update={"version": 0})
    assert "made under fscs v0; the own metric here follows v1" in rescored([earlier], PFENET).notes


def test_the_command_prints_and_writes_nothing(make, tmp_path, capsys):
    record = make("m", 0, quality=2, spill=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    printed = {}
    for form in ("text", "markdown", "latex", "json"):
        assert main(["table", str(record.path), "--protocol", "pfenet", "--format", form]) == 0
        printed[form] = capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (group,) = json.loads(printed["json"])
    rule = "metric of pfenet v1, same episodes"
    value, moved = (row["value"] for row in group["rows"] if (row["rule"], row["metric"]) == (rule, "mIoU"))
    assert main(["table", str(record.path), "--protocol", "pfenet", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == list(COLUMNS) == list(group["rows"][0])
    assert [float(row["value"]) for row in rows] == pytest.approx([row["value"] for row in group["rows"]])
    assert f" {value:.2f} [" in printed["text"] and f" {moved:+.2f} [" in printed["text"]
    assert f"| {moved:+.2f} [" in printed["markdown"] and f"& {moved:+.2f} [" in printed["latex"]
    heads = ["method", "fold", "figures", "mIoU", "difference", "FB-IoU", "difference", "accuracy", "difference"]
    assert f"| {' | '.join(heads)} |" in printed["markdown"]
    head = next(line for line in printed["text"].splitlines() if line.startswith("method"))
    assert head.split() == heads[:5] and "not shown: FB-IoU, difference, accuracy;" in printed["text"]


def test_what_cannot_be_rescored_is_refused(whole, tmp_path, capsys):
    assert main(["table", str(whole.path), "--protocol", "nothing"]) == 2
    assert f"unknown protocol 'nothing'; there are: {', '.join(protocol_names())}" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["table", str(tmp_path / "empty"), "--protocol", "fscs"]) == 2
    assert "no finished run in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--resolution 0", "--resolution is '0', expected original or a side from 1 to 4096 pixels"),
        ("--objects 5-0", "--objects is '5-0', expected two percentages, the lower one first"),
        ("--protocol pfenet --by size", "--protocol and --by size were both given; expected one of them"),
        ("--void ignore --published", "--published was given with --void; expected it with a table of scores"),
        ("--data-root here", "--data-root was given with a table of scores; expected it with --protocol or --void"),
        ("--by draw --by annotation", "--by was given draw, annotation, which do not fit into one table"),
        (
            "--by draw --metrics mIoU",
            "--metrics was given with --by draw; expected it with a table of scores or --by an",
        ),
        ("--by shots --similarity", "--similarity was given with --by shots; expected it with --by draw"),
        ("--plot figure.png", "--plot was given with a table of scores; expected it with --by shots or"),
    ],
)
def test_options_that_a_table_does_not_take_are_refused(words, message, tmp_path, capsys):
    """Before a run is read."""
    assert main(["table", str(tmp_path / "nowhere"), *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_counts_at_the_input_size_do_not_give_those_at_the_original(whole):
    inputs = replace(FSCS, view=replace(FSCS.view, query_size="input"))
    assert undefined(whole, inputs, FSCS).endswith("at the method's input size; evaluate again under fscs")
    assert undefined(whole, inputs, inputs) == ""
    bam, generalised = load_protocol("bam"), load_protocol("bam_gfss")
    words = "bam_gfss asks for base classes, bam does not; evaluate again under"
    assert undefined(whole, bam, generalised) == f"{words} bam_gfss"
    assert undefined(whole, generalised, bam) == f"{words} bam"
    large, small = (load_protocol(name) for name in ("incontext", "incontext518"))
    reason = undefined(whole, large, small)
    counted = "incontext518 counts pixels at 518 x 518, the run's counts are at 1024 x 1024"
    assert reason == f"{counted}; evaluate again under incontext518"
    assert undefined(whole, large, replace(small, view=replace(small.view, query_size=1024))) == ""
    reason = "fscs and fssdino place masks on the query differently; evaluate again under fssdino"
    assert undefined(whole, FSCS, load_protocol("fssdino")) == reason
