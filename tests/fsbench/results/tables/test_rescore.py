"""Another protocol's metric on the same predictions: what counts decide, and what they do not."""

import json
from dataclasses import replace

import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.protocols.reading import load_protocol, load_segmentation, protocol_names
from fsbench.results.tables.rescoring.rescore import rescore, undefined
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


def by_figures(group, fold="0"):
    return {line.figures: line for line in group.lines if line.fold == fold}


def test_void_policy_by_hand(spilled):
    (group,) = rescore([spilled], PFENET)
    lines = by_figures(group)
    assert list(lines) == ["own metric: fscs v1", "metric of pfenet v1, same episodes", "only presence: any_pixel"]
    own, other, _ = lines.values()
    sums = spilled.episodes.filter(pl.col("slot") == 1).group_by("class_id").agg(
        pl.col("tp", "pred", "gt", "pred_void").sum()
    )  # fmt: skip
    tp, union = sums["tp"], sums["pred"] + sums["gt"] - sums["tp"]
    assert own.scores["mIoU"].value == pytest.approx(100 * (tp / (union + sums["pred_void"])).sum() / 3)
    assert other.scores["mIoU"].value == pytest.approx(100 * (tp / union).sum() / 3)
    difference = other.difference["mIoU"]
    assert difference.value == pytest.approx(other.scores["mIoU"].value - own.scores["mIoU"].value)
    assert (
        difference.low < difference.value < difference.high and difference.value > 0
    )  # of 8 supports: not told from 0
    assert other.difference["accuracy"].value == 0 and not own.difference


def test_presence_from_the_mask_counts_void_pixels_too(make):
    """Decisions were right but for 6 episodes; the masks show the way where any pixel, void or not, is predicted."""
    record = make("m", 0, quality=1, spill=True, wrong=6)
    line = by_figures(rescore([record], FSCS)[0])["only presence: any_pixel"]
    ways = record.episodes.filter(pl.col("slot") == 1)
    derived = (ways["pred"] + ways["pred_void"] > 0) == ways["present"]
    assert line.scores["accuracy"].value == pytest.approx(100 * derived.mean())
    assert derived.mean() < 1  # void of other objects was predicted in some empty queries
    assert line.difference["accuracy"].value == pytest.approx(100 * derived.mean() - 75)
    assert line.difference["mIoU"].value == 0


def test_methods_that_only_segment_have_no_other_presence(whole):
    (group,) = rescore([changed(whole, presence="any_pixel")], PFENET)
    assert not any("presence" in line.figures for line in group.lines)


def test_another_resolution_is_not_defined_and_void_alone_is(spilled):
    (group,) = rescore([spilled], HSNET)
    lines = by_figures(group)
    line = lines["metric of hsnet v1, same episodes"]
    reason = "hsnet counts pixels at the method's input size, the run's counts are at the query's original size"
    assert not line.scores and line.undefined.startswith(reason)
    assert any(reason in note for note in group.notes)
    (same,) = rescore([spilled], PFENET)
    expected = by_figures(same)["metric of pfenet v1, same episodes"]
    assert lines["only void: ignore"].scores == expected.scores


def test_stored_predictions_give_another_resolution(spilled):
    """At the input size; where they are not sound, the reason stands beside the usual one."""
    record = changed(spilled, {"image_size": 32})
    asked = []

    def recount(of, side):
        asked.append((of, side))
        return of.episodes.with_columns(tp=pl.col("tp") // 2)

    (group,) = rescore([record], HSNET, recount=recount)
    line = by_figures(group)["metric of hsnet v1, same episodes (stored masks at the method's input size)"]
    whole = by_figures(rescore([record], HSNET)[0])["only void: ignore"]
    assert asked == [(record, 32)] and line.scores["mIoU"].value < whole.scores["mIoU"].value

    (group,) = rescore([record], INCONTEXT, recount=recount)
    assert "metric of incontext v1, same episodes (stored masks at 1024 x 1024)" in by_figures(group)
    assert asked[1:] == [(record, 1024)]

    def refuse(of, side):
        raise RecordError("the run kept no predictions")

    (group,) = rescore([record], HSNET, recount=refuse)
    line = by_figures(group)["metric of hsnet v1, same episodes"]
    assert line.undefined.endswith("evaluate again under hsnet; stored predictions: the run kept no predictions")
    lacking = changed(spilled, {"image_size": 10**9})
    line = by_figures(rescore([lacking], HSNET, recount=recount)[0])["metric of hsnet v1, same episodes"]
    assert line.undefined.endswith("run.json has the image size 1000000000; expected a side from 1 to 4096")


def test_the_truth_of_another_test_is_resized_by_its_rule_or_it_is_not_defined(spilled):
    """PMMs' truth goes to the input's size and back, VAT's there by OpenCV; no mask lies in RePRI's letterbox."""
    record, asked = changed(spilled, {"image_size": 32}), []

    def recount(of, side, view=None):
        asked.append((side, view and view.compared_at))
        return of.episodes

    for row in ("pmms-rpmms", "vat", "repri"):
        (group,) = rescore([record], load_segmentation(f"atlas:{row}/pascal-5i"), recount=recount)
    assert asked == [(0, "original, label there and back"), (32, "network input, OpenCV nearest")]
    (refused,) = [line for line in group.lines if line.figures.startswith("metric of ")]
    assert "evaluate again under" in refused.undefined and not refused.scores


def test_a_class_without_an_episode_counts_as_the_other_test_has_it(make):
    """FPTrans leaves it out of the mean, HMNet's program counts it as 0."""
    record = make("m", 0, quality=2)
    shown = record.header.class_ids
    names = record.manifest.entries["class_names"] | {"99": "absent"}
    lacking = rewrite(record, header={"class_ids": [*shown, 99], "class_names": names})
    means = {}
    for name in ("atlas:fptrans/pascal-5i", "pfenet"):
        line = by_figures(rescore([lacking], load_segmentation(name))[0])[f"metric of {name} v1, same episodes"]
        means[name] = line.scores["mIoU"].value
    left_out, zero = means.values()
    assert zero == pytest.approx(left_out * len(shown) / (len(shown) + 1)) and zero > 0


def test_several_ways_under_a_protocol_of_one_are_not_defined(make):
    record = make("m", 0, quality=2, way=2)
    assert undefined(record, FSCS, PFENET) == "pfenet knows one way, the run has up to 2"
    (group,) = rescore([record], PFENET)
    own = by_figures(group)["own metric: fscs v1"]
    assert group.metrics == ("mIoU", "FB-IoU", "FB-IoU-any", "accuracy")
    assert own.scores["FB-IoU-any"].value >= own.scores["FB-IoU"].value


def test_the_own_protocol_is_not_shown_twice(whole):
    lines = by_figures(rescore([whole], FSCS)[0])
    assert "own metric: fscs v1" in lines and not [name for name in lines if name.startswith("metric of")]


def test_readers_are_told_whose_episodes_these_are(whole):
    (group,) = rescore([whole], PFENET)
    text = "\n".join(group.notes)
    assert "same episodes: drawn and predicted under fscs; pfenet's own figure needs a run under it" in text
    assert "queries may be empty here; under pfenet every query shows the class" in text
    assert "24 instead of the protocol's 1000 episodes: a trial, not a result" in text
    earlier = changed(whole)
    earlier.__dict__["header"] = whole.header.model_copy(update={"version": 0})
    assert "made under fscs v0; the own metric here is that of v1" in rescore([earlier], PFENET)[0].notes


def test_a_mean_only_over_every_fold(make):
    whole = [make("m", fold, quality=2, spill=True) for fold in (0, 1)]
    (group,) = rescore([*whole, make("part", 0)], PFENET)
    assert {(line.method, line.fold) for line in group.lines} == {("m", "0"), ("m", "1"), ("m", "mean"), ("part", "0")}
    label = "metric of pfenet v1, same episodes"
    folds = [by_figures(group, fold)[label].difference["mIoU"].value for fold in ("1", "mean")]
    first = next(line for line in group.lines if (line.method, line.fold, line.figures) == ("m", "0", label))
    assert folds[1] == pytest.approx((folds[0] + first.difference["mIoU"].value) / 2)


def test_the_command_prints_and_writes_nothing(make, tmp_path, capsys):
    record = make("m", 0, quality=2, spill=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    printed = {}
    for form in ("text", "markdown", "latex", "json"):
        assert main(["table", str(record.path), "--protocol", "pfenet", "--format", form]) == 0
        printed[form] = capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (group,) = json.loads(printed["json"])
    value, moved = group["lines"][1]["scores"]["mIoU"]["value"], group["lines"][1]["difference"]["mIoU"]["value"]
    assert f" {value:.2f} [" in printed["text"] and f" {moved:+.2f} [" in printed["text"]
    assert f"| {moved:+.2f} [" in printed["markdown"] and f"& {moved:+.2f} [" in printed["latex"]
    head = printed["text"].splitlines()[2].split()
    assert head == ["method", "fold", "figures", "mIoU", "difference", "FB-IoU", "difference", "accuracy", "difference"]


def test_what_cannot_be_rescored_is_refused(whole, tmp_path, capsys):
    assert main(["table", str(whole.path), "--protocol", "nothing"]) == 2
    assert f"unknown protocol 'nothing'; there are: {', '.join(protocol_names())}" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["table", str(tmp_path / "empty"), "--protocol", "fscs"]) == 2
    assert "no finished run in" in capsys.readouterr().err
    assert main(["table", str(whole.path), "--protocol", "pfenet", "--format", "csv"]) == 2
    assert "--format is csv, which does not exist for scores by another rule; expected text" in capsys.readouterr().err


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
    reason = "fscs and fssdino lay masks over the query in other ways; evaluate again under fssdino"
    assert undefined(whole, FSCS, load_protocol("fssdino")) == reason
