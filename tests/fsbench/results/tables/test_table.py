"""Tables from records: what stands together, when there is a mean, and the five formats."""

import csv
import io
import json
import shutil
from math import isnan
from pathlib import Path

import polars as pl
import pytest

from fsbench.base.errors import RecordError, SettingsError
from fsbench.cli.main import main
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from fsbench.records.counts import to_frame
from fsbench.records.record import Record, find_distinct_records, find_records
from fsbench.results.rows.comparable import check_same, compared_tests
from fsbench.results.rows.parts import ABSENT, SIZES
from fsbench.results.rows.row import CLASS, SIZE, scores_of
from fsbench.results.sheets.formats import FORMATS
from fsbench.results.tables.render import render
from fsbench.results.tables.table import build_blocks
from fsbench.scores.confusion import COUNTS, intersection_union, mean_iou
from tests.fsbench.pages.report.studies import write_study
from tests.fsbench.runs import rewrite, written


def lines(blocks):
    return [line for block in blocks for line in block.lines]


@pytest.fixture(scope="module")
def records(shared_make):
    """Runs of two methods, one of them on one fold only, which no test changes."""
    return [shared_make(*of, wrong=3) for of in (("good", 0, 1), ("good", 1, 1), ("bad", 0, 2))]


def test_a_mean_only_where_every_fold_is_there(records):
    (block,) = build_blocks(records)
    assert lines([block]) == [("good", "0"), ("good", "1"), ("good", "mean"), ("bad", "0")]
    folds = [block.lines["good", fold]["mIoU"].value for fold in ("0", "1")]
    assert block.lines["good", "mean"]["mIoU"].value == pytest.approx(sum(folds) / 2)
    assert folds[0] == pytest.approx(100) and block.lines["bad", "0"]["mIoU"].value < 60
    assert [cost.trainable_parameters for cost in block.costs["good", "0"]] == [86020] and block.runs[
        "good", "mean"
    ] == ""


def test_other_settings_and_other_episodes_never_share_a_block(make):
    records = [make("m", 0), make("m", 0, way=2), make("m", 0, setting="0-5"), make("m", 0, episodes=10)]
    blocks = build_blocks(records)
    assert len(blocks) == 4 and all(len(block.lines) == 1 for block in blocks)
    assert "2-way 1-shot" in blocks[1].title and "0-5" in blocks[2].title and "10 episodes" in blocks[3].title


def test_runs_of_one_method_that_differ_say_how(make):
    (block,) = build_blocks([make("m", 0, seed=0), make("m", 0, seed=1)])
    assert lines([block]) == [("m", "0")]  # a method without training says the same under every seed
    (block,) = build_blocks([make("m", 0), rewrite(make("m", 0), {"method": {"name": "m", "layers": 2}})])
    assert lines([block]) == [("m", "0"), ("m (layers 2)", "0")]


def test_records_that_were_found_twice_stand_once(make, tmp_path, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copies") / "copy"
    shutil.copytree(make("m", 0).path, copy)
    found = find_distinct_records([tmp_path, tmp_path, copy])
    assert lines(build_blocks(found)) == [("m", "0")]


def test_two_records_of_one_run_that_differ_are_both_left_out(make, tmp_path, tmp_path_factory, capsys):
    """Whichever stands last on the command line must not be the one that is believed."""
    record, other = make("m", 0), make("n", 0)
    more = make("m", 0, quality=2)
    copy = Path(shutil.copytree(more.path, tmp_path_factory.mktemp("copies") / "copy"))
    shutil.rmtree(more.path)
    rewrite(Record(copy, more.run), id=record.run.id)
    for folders in ([tmp_path, copy], [copy, tmp_path]):
        assert main(["table", *map(str, folders), "--metrics", "mIoU"]) == 1
        out, err = capsys.readouterr()
        assert "n " in out and "m " not in out
        assert f"are both the run {record.run.id}, with different counts; remove the one" in err
        assert str(record.path) in err and str(copy) in err
    with pytest.raises(RecordError, match="are both the run"):
        find_distinct_records([tmp_path, copy])
    assert [found.path for found in find_distinct_records([tmp_path])] == [record.path, other.path]


def test_runs_on_other_images_stand_in_a_table_of_their_own(make):
    """Equal names and sizes of lists, other photos: whoever ranks them together compares photos, not methods."""
    files = {("m", 0): "a", ("n", 0): "b", ("n", 1): "b", ("o", 0): "a", ("o", 1): "a", ("m", 1): "a"}
    runs = [rewrite(make(*of), {"files_sha256": f"{of[1]}{sha256}"}) for of, sha256 in files.items()]
    blocks = build_blocks(runs)
    assert [lines([block]) for block in blocks] == [
        [(name, fold) for name in names for fold in ("0", "1", "mean")] for names in (["m", "o"], ["n"])
    ]
    for number, block in enumerate(blocks, 1):
        told = f"table {number} of 2 of this test (fold 0, 1): its runs saw other images, label maps or episodes"
        assert any(line.startswith(told) for line in block.warnings)
    with pytest.raises(RecordError, match="the names are equal, but the files of the images or label maps differ"):
        check_same({"m": {0: (runs[0],)}, "n": {0: (runs[1],)}})


def test_trained_runs_and_checkpoints_are_told_apart_shortly(make):
    checkpoints = [make("m", 0, training={"checkpoint_sha256": digit * 64}) for digit in "ab"]
    trained = [make("m", 0, training={"max_epochs": n, "validation_sha256": "0"}) for n in (1, 2)]
    (block,) = build_blocks([*checkpoints, *trained])
    labels = [method for method, _ in block.lines]
    assert len(set(labels)) == 4 and all(len(label) < 70 for label in labels)
    assert "m (max_epochs 1, weights from training)" in labels
    assert sum("weights from checkpoint" in label for label in labels) == 2


def test_folds_of_different_data_are_never_averaged(make, blocks_folder, tmp_path, tmp_path_factory):
    """A data set of the same name with another list of images: its fold 1 is not the mate of the first one's fold 0."""
    other = Path(shutil.copytree(blocks_folder, tmp_path_factory.mktemp("other") / "blocks"))
    names = (other / "ImageSets/Segmentation/val.txt").read_text().split()
    (other / "ImageSets/Segmentation/val.txt").write_text("\n".join(names[:-2]) + "\n")
    first, protocol = make("m", 0), load_protocol("fscs")
    manifest = protocol.manifest(Folder(str(other)), Task(1, episodes=24))
    rows = [
        dict.fromkeys(COUNTS, 9)
        | {"episode": e.number, "slot": slot, "class_id": number, "present": True, "decided": True}
        for e in manifest.episodes
        for slot, number in enumerate((0, *e.classes))
    ]
    second = written(
        tmp_path, to_frame(rows, manifest), {**first.run.identity.as_json(), "manifest_sha256": manifest.sha256}
    )
    manifest.write(second.path / "manifest.jsonl")
    blocks = build_blocks([first, second])
    assert [lines([block]) for block in blocks] == [[("m", "0")], [("m", "1")]]


def test_folds_of_two_copies_of_the_data_are_never_averaged(make):
    """Label maps were corrected between fold 0 and fold 1: equal names of images, and no image of both folds tells."""
    first, second = (rewrite(make("m", fold), {"all_files_sha256": f"copy {fold}"}) for fold in (0, 1))
    blocks = build_blocks([first, second])
    assert [lines([block]) for block in blocks] == [[("m", "0")], [("m", "1")]]
    for fold, block in enumerate(blocks):
        assert block.title.endswith(f"table {fold + 1} of 2")
        assert any(f"table {fold + 1} of 2 of this test (fold {fold}): its runs saw" in line for line in block.warnings)
    again = rewrite(make("m", 0, quality=2), {"all_files_sha256": "copy 1"})
    (corrected,) = build_blocks([again, second])
    assert lines([corrected]) == [("m", "0"), ("m", "1"), ("m", "mean")]
    mixed = {name: {0: (first,), 1: (second,)} for name in ("now", "accepted")}
    with pytest.raises(RecordError, match="the runs of fold 0 and fold 1 saw different copies of the data"):
        check_same(mixed)


def test_label_maps_of_two_painting_rules_are_two_tests(make):
    """Honest runs, whose truth differs: they stand in two tables, and no comparison says that one was changed."""
    old, new = (rewrite(make(name, 0), {"painting": rule}) for name, rule in (("old", "one rule"), ("new", "another")))
    said = "their label maps were painted by another and by one rule, which give other pixels: these are two tests"
    for block in build_blocks([old, new]):
        assert any(said in line for line in block.warnings)
    with pytest.raises(SettingsError, match=said):
        compared_tests([old.path, new.path])
    with pytest.raises(RecordError, match=said):
        check_same({"old": {0: (old,)}, "new": {0: (new,)}})


def test_no_mean_by_size_over_some_folds_only(make):
    """Four episodes a fold have no object of some sizes."""
    (block,) = build_blocks([make("m", 0, episodes=4), make("m", 1, episodes=4)])
    parts = block.parts(SIZE)
    assert [fold for _, fold in parts] == ["0", "1", "mean"]
    *folds, mean = ({name: rows[0] for name, rows in of.items()} for of in parts.values())
    lacking = {name for name in SIZES if any(not fold[name].pairs for fold in folds)}
    assert lacking and any(fold[name].pairs for fold in folds for name in lacking)
    for name in SIZES:
        assert (mean[name].pairs == mean[name].episodes == 0 and isnan(mean[name].estimate.value)) == (name in lacking)


def test_breakdown_by_size_and_class(make):
    record = make("m", 0, quality=3, way=2)
    (block,) = build_blocks([record], by=("size", "class"))
    (by_size,), (by_class,) = block.parts(SIZE).values(), block.parts(CLASS).values()
    ways = record.episodes.filter(pl.col("slot") > 0).with_columns(
        share=pl.col("gt") / (pl.col("void") + pl.col("valid"))
    )
    bins = {name: ways.filter(pl.col("gt") > 0, pl.col("share") >= low, pl.col("share") < high)
            for name, (low, high) in SIZES.items()}  # fmt: skip
    bins[ABSENT] = ways.filter(pl.col("gt") == 0)
    assert list(by_size) == list(bins) and sum(map(len, bins.values())) == 48
    for name, part in bins.items():
        assert {(row.pairs, row.episodes) for row in by_size[name]} == {(len(part), part["episode"].n_unique())}
        if name != ABSENT:
            sums = part.group_by("class_id").agg(pl.col("tp", "pred", "gt", "pred_void").sum())
            expected = mean_iou(
                *intersection_union(sums.select("tp", "pred", "gt", "pred_void").to_numpy(), "background")
            )
            score = scores_of(by_size[name])["mIoU"]
            assert score.value == pytest.approx(float(expected))
            assert score.has_interval == (score.queries >= 10) and score.queries == part["query"].n_unique()
    assert list(scores_of(by_size[ABSENT])) == ["accuracy"]  # an IoU of nothing means nothing
    assert list(by_class) == ["red", "green", "blue"]
    assert sum(rows[0].pairs for rows in by_class.values()) == 48


def test_other_metrics_can_be_asked_for(make):
    blocks = build_blocks([make("m", 0, quality=3, wrong=6)], trivial=True, metrics=["mIoU", "error", "ROM", "RUM"])
    (block,) = blocks
    scores, *trivial = block.lines.values()
    frame = find_records(make("m", 0, quality=3).path)[0].episodes.filter(pl.col("slot") == 1)
    assert list(scores) == ["mIoU", "error", "ROM", "RUM"]
    assert scores["error"].value == pytest.approx(25)
    assert scores["ROM"].value == pytest.approx(frame["rom"].mean()) and scores["ROM"].value > 0.3
    assert all(list(answer) == ["mIoU", "error"] for answer in trivial)
    assert any(note.startswith("ROM: objects predicted in several pieces") for note in block.notes)
    text = render(blocks, "text").splitlines()
    assert text[2].split() == ["method", "mIoU", "3⁰", "95", "%", "interval", "error", "ROM", "RUM"]
    assert text[4].split()[-2] == f"{scores['ROM'].value:.3f}"
    long = next(
        i for i, line in enumerate(render(blocks, "text", ["all"]).splitlines()) if line.startswith("every run")
    )
    rows = render(blocks, "text", ["all"]).splitlines()[long + 1 :]
    assert rows[0].split() == ["method", "fold", "mIoU", "error", "ROM", "RUM"]
    assert f"{scores['ROM'].value:.3f} [" in rows[2] and rows[3].split()[-2:] == ["–", "–"]


@pytest.fixture
def table(records, capsys):
    """table(*arguments) -> what `fsbench table` prints of the shared runs."""

    def call(*arguments: str) -> str:
        assert main(["table", str(records[0].path.parent), "--no-trivial", *arguments]) == 0
        return capsys.readouterr().out

    return call


def test_the_ordinary_table_has_the_ordinary_columns(table):
    printed = table().splitlines()
    assert printed[2].split() == ["method", "mIoU", "3⁰", "3¹", "mean", "95", "%", "interval", "FB-IoU", "accuracy"]
    assert [line.split() for line in printed if line.startswith("method ")][1:] == [
        ["method", "fold", *(word for size in SIZES for word in (size, "%"))]
    ] and ABSENT not in "".join(printed)
    good, bad = sorted(printed[4:6], reverse=True)
    assert good.split()[:4] == ["good", "100.00", "100.00", "100.00"] and bad.split()[2:] == ["–"] * 5


def test_by_size_tells_strata_from_size_restricted_settings(table):
    printed = table("--by", "size")
    lines = [line.split() for line in printed.splitlines()]
    start = lines.index(["accuracy", "by", "object", "size"])
    assert lines[start + 1] == ["method", "fold", "0-5", "%", "5-10", "%", "10-15", "%", ">15", "%", ABSENT]
    rows = [words for words in lines[start + 3 :] if words[:3] == ["(episode,", "way)", "pairs"]]
    assert len(rows) == 3 and sum(map(int, rows[0][4:])) == 24  # of two folds and their mean
    start = lines.index(["mIoU", "by", "object", "size"])
    assert ABSENT not in lines[start + 1]  # an IoU of nothing means nothing
    assert "Same episodes, grouped by it. The settings 0-5, 5-10, 10-15 and 0-15 are" in printed


def test_by_fold_sets_the_folds_side_by_side(table):
    lines = [line.split() for line in table("--by", "fold", "--metrics", "mIoU,error").splitlines()]
    heads = [i for i, words in enumerate(lines) if words[:1] == ["method"]]
    assert lines[heads[0]] == ["method", "metric", "fold", "0", "fold", "1", "mean"]
    assert [lines[i - 1] for i in heads] == [["mIoU", "by", "fold"], ["error", "by", "fold"]]
    bad, good = sorted(lines[heads[0] + 2 : heads[0] + 4])
    assert bad[-2:] == ["–", "–"] and "–" not in good
    assert lines[heads[1] + 2][2] == lines[heads[1] + 3][2] == "12.50"


def test_readers_are_told_what_a_number_is_not(make):
    (block,) = build_blocks([make("m", 0, weights="random (seed 0)")], trivial=True)
    text = " ".join([*block.warnings, *block.notes])
    assert "too narrow" not in text and "of the same images" not in text  # few images have no interval
    assert "a trial, not a result: 24 episodes, and the protocol has 1000" in text
    assert "backbone b has random (seed 0) weights; the scores mean nothing" in text
    assert "image lists: made by fsbench's own rule (the authors' lists are not here)" in text
    assert [method for method, _ in block.lines] == ["m", "(all foreground)", "(all background)", "(majority)"]


def test_formats(make):
    blocks = build_blocks([make("a_b", 0), make("a_b", 1)], by=("size", "class"), trivial=True)
    text = {form: render(blocks, form) for form in FORMATS}
    table = text["text"].split("\n\n")[1].splitlines()
    assert len({len(line) for line in table[:2]}) == 1 and "100.00              –" in table[2]
    assert "| a_b | 100.00 | 100.00 | 100.00 | – |" in text["markdown"]  # whatever image is left out, it is 100
    rows = list(csv.DictReader(io.StringIO(text["csv"])))
    means = [r for r in rows if r["fold"] == "mean" and r["part"] == "all" and r["metric"] == "mIoU"]
    assert [r["value"] for r in means] == ["100.0"]
    assert {r["metric"] for r in rows} >= {"trainable", "episodes/s", "peak memory MiB"}
    assert "a trial, not a result" in rows[0]["notes"]
    assert r"a\_b & 100.00" in text["latex"] and text["latex"].count(r"\begin{tabular}") == 3
    loaded = json.loads(text["json"])
    assert loaded[0]["rows"][0]["scores"]["mIoU"]["value"] == pytest.approx(100)


def test_the_order_of_the_folders_does_not_matter(records):
    good = records[:2]
    assert render(build_blocks(good), "json") == render(build_blocks(good[::-1]), "json")


def test_rows_are_broken_down_by_size_only_where_asked(records):
    good = records[:2]
    (plain,), (whole,) = build_blocks(good, by=(), metrics=["mIoU"]), build_blocks(good, metrics=["mIoU"])
    assert plain.lines == whole.lines and not plain.parts(SIZE) and plain.lines.keys() == whole.parts(SIZE).keys()


def test_runs_of_the_same_name_in_two_folders_have_their_own_costs(tmp_path):
    """The folder's name says nothing about a run of somebody else's."""
    runs = [
        record
        for part in ("ours", "theirs")
        for record in write_study(tmp_path / part, {part: 0.5}, folds=1, classes=4, episodes=30)
    ]
    runs = [
        rewrite(record, cost=record.run.cost.as_json() | {"trainable_parameters": 1_000 * n})
        for n, record in enumerate(runs, 1)
    ]
    assert len({record.path.name for record in runs}) == 1
    (block,) = build_blocks(runs)
    assert [block.costs[name, "0"][0].trainable_parameters for name in ("ours", "theirs")] == [1_000, 2_000]
    lines = list(csv.DictReader(io.StringIO(render([block], "csv"))))
    shown = {line["method"]: line["value"] for line in lines if line["metric"] == "trainable"}
    assert shown == {"ours": "1000.0", "theirs": "2000.0"}
