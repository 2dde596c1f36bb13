"""Means over trainings through `fsbench table` and `fsbench compare`: one row a method (statistics spec §13.6)."""

import json
from math import sqrt
from statistics import mean, stdev

import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.records.record import leave_out_damaged
from fsbench.results.sheets.text import table_lines
from fsbench.results.tables.breakdowns import short_table
from fsbench.results.tables.table import build_blocks
from fsbench.runs import load_runs
from fsbench.scores.trainings import Reach
from tests.fsbench.pages.report.studies import write_study
from tests.fsbench.runs import changed, rewrite, written

TRAINED = {"max_epochs": 8}


def write_trainings(folder, methods, folds=1, missing=()):
    """Write runs of methods: name -> quality of each training, None of one that is not trained under two seeds."""
    for name, qualities in methods.items():
        for seed, quality in enumerate(qualities or (0.4, 0.4)):
            runs = write_study(folder / f"{name}{seed}", {name: quality}, folds=folds, classes=4 * folds, episodes=40)
            for fold, record in enumerate(runs):
                if (name, fold, seed) not in missing:
                    rewrite(record, {"seed": seed, "training": TRAINED if qualities else None})
                else:
                    (record.path / "run.json").unlink()
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    qualities = {"emat": (0.6, 0.7, 0.64), "cst": (0.5, 0.56), "hsnet": (0.52,), "prototype": None}
    return write_trainings(tmp_path_factory.mktemp("runs"), qualities)


def block_of(folder):
    (block,) = load_runs(folder).table(trivial=False).blocks
    return block


@pytest.fixture(scope="module")
def block(runs):
    return block_of(runs)


def test_a_method_is_one_row_over_its_trainings(runs, block):
    assert [method for method, _ in block.lines] == ["cst", "emat", "hsnet", "prototype"]
    assert block.reaches == {
        "cst": Reach.OTHER, "emat": Reach.OTHER, "hsnet": Reach.THESE, "prototype": Reach.UNTRAINED,
    }  # fmt: skip
    records = [record for record in load_runs(runs).records if record.run.identity.method.name == "emat"]
    alone = [record.protocol.statistics(record.episodes, record.header).scores()["mIoU"] for record in records]
    found = block.trained["emat", "0"]["mIoU"]
    assert found.these.value == pytest.approx(mean(alone)) and found.spreads[0].sd == pytest.approx(stdev(alone))
    assert found.other.low < found.these.low and found.other.high > found.these.high
    assert block.lines["emat", "0"]["mIoU"] == found.other and not found.is_rough
    assert block.trained["cst", "0"]["mIoU"].is_rough


def test_the_table_names_what_each_interval_holds_for(block):
    head, _, cst, emat, hsnet, prototype = table_lines(short_table(block))[:6]
    assert head.split("  ")[0] == "method" and "other images" in head and "and other trainings" in head
    assert "] rough" in cst and "] rough" not in emat and "one training" in hsnet and "no training" in prototype
    assert [line.split()[1].strip("†‡") for line in (cst, emat, hsnet, prototype)] == ["2", "3", "1", "–"]


def test_single_trainings_stand_below_their_method_on_request(runs, capsys):
    """What comes next is a comparison of the methods."""
    assert main(["table", str(runs), "--trainings", "--metrics", "mIoU"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("emat"))
    assert [line.split()[:2] for line in lines[place + 1 : place + 4]] == [["seed", str(seed)] for seed in range(3)]
    assert all("[" not in line for line in lines[place + 1 : place + 4])
    assert not any(line.startswith("  seed") for line in lines[place + 4 : place + 5])
    assert f"  fsbench compare {runs}" in lines


def test_folds_may_have_other_numbers_of_trainings(tmp_path):
    runs = write_trainings(tmp_path, {"emat": (0.6, 0.7)}, folds=2, missing=[("emat", 1, 1)])
    block = block_of(runs)
    found = block.trained["emat", "mean"]["mIoU"]
    assert found.numbers == ["2,1"] and found.is_borrowed
    spread = stdev(value for value in found.spreads[0].scores[0])
    assert found.spreads[0].sd == pytest.approx(sqrt(2 * (spread / 2) ** 2))  # the other fold borrows it
    assert "seeds of the trainings: emat 0, 1, fold 1 has no record of seed 1" in block.warnings
    (row,) = (row for row in block.rows if (row.fold, row.metric, row.part_kind) == ("mean", "mIoU", "all"))
    cells, other = row.cells(), found.other
    assert cells["trainings"] == "2,1" and cells["df_trainings"] == found.df
    assert [cells[f"{name}_other"] for name in ("low", "error", "df")] == [other.low, other.error, other.df]
    assert (cells["error"], cells["df"]) == (found.these.error, found.these.df)


def test_two_seeds_of_equal_weights_are_one_training_and_the_second_is_left_out(tmp_path):
    runs, refused = write_trainings(tmp_path, {"emat": (0.6, 0.7), "hsnet": (0.5,)}), []
    records = [
        changed(record, made={"checkpoint_sha256": ("ab" if record.run.identity.method.name == "emat" else "cd") * 32})
        for record in load_runs(runs).records
    ]
    with pytest.raises(RecordError, match="seeds 0 and 1 of emat are one training: their weights are the same"):
        build_blocks(records)
    (block,) = leave_out_damaged(records, refused, build_blocks)
    assert block.reaches["emat"] is Reach.THESE and "seeds 0 and 1 of emat are one training" in refused[0]


def empty(record):
    """Rewrite a run as one that predicts no object."""
    nothing = {name: pl.lit(0, record.every_episode.schema[name]) for name in ("tp", "pred", "pred_void")}
    no = {"decided": pl.lit(False), "score": pl.lit(0.0, record.every_episode.schema["score"])}
    frame = record.every_episode.with_columns(**nothing, **no)
    return written(record.path, frame, **record.run.as_json())


def test_trainings_with_equal_counts_and_other_weights_stay_and_are_told(tmp_path, capsys):
    """Three trainings of hsnet predict nothing on fold 1; seeds 0 and 2 of emat answer alike."""
    runs = write_trainings(tmp_path, {"emat": (0.6, 0.7, 0.6), "hsnet": (0.5, 0.6, 0.7)}, folds=2)
    for record in load_runs(runs).records:
        own = record.run.identity
        if (own.method.name, own.fold) == ("hsnet", 1):
            empty(record)
    for number, record in enumerate(load_runs(runs).records):
        rewrite(record, made={"checkpoint_sha256": f"{number:064x}"})
    assert main(["table", str(runs), "--metrics", "mIoU", "--format", "json"]) == 0
    (block,) = json.loads(capsys.readouterr().out)
    rows = {(row["method"], row["fold"]): row["trainings"]["mIoU"] for row in block["rows"] if row["trainings"]}
    assert rows["hsnet", "1"]["trainings"] == "3" and rows["hsnet", "1"]["mean"] == 0
    assert rows["hsnet", "1"]["sd_trainings"] == 0 and rows["hsnet", "mean"]["sd_trainings"] > 0
    assert rows["emat", "0"]["trainings"] == "3" and rows["emat", "0"]["sd_trainings"] > 0
    assert "hsnet: all 3 trainings predict no object at all, fold 1" in block["warnings"]
    assert "emat: seeds 0 and 2 answer all episodes alike, fold 0, 1" in block["warnings"]
    assert main(["compare", str(runs)]) == 0
    assert "hsnet: all 3 trainings predict no object at all, fold 1" in capsys.readouterr().out
    assert main(["report", str(runs), "--out", str(tmp_path / "report"), "--no-photos"]) == 0
    pages = [page.read_text() for page in (tmp_path / "report").rglob("*.html")]
    assert any("all 3 trainings predict no object at all" in page for page in pages)


def test_differences_hold_for_other_trainings_where_both_have_several(runs, capsys):
    (comparison,) = load_runs(runs).compare(metrics="mIoU").comparisons
    rows = {(row.method, row.minus): row for row in comparison.rows}
    emat = rows["cst", "emat"]
    assert emat.trainings == "2 and 3" and emat.estimate.covers_trainings
    assert emat.trained.these.low < emat.trained.these.value < emat.trained.these.high
    assert not rows["cst", "hsnet"].estimate.covers_trainings and rows["cst", "hsnet"].is_of_these
    assert rows["emat", "prototype"].trainings == "3 and –" and rows["cst", "prototype"].trained.is_rough
    assert main(["compare", str(runs), "--metrics", "mIoU"]) == 0
    out = capsys.readouterr().out
    assert "seed" not in out and "trainings" in out and "other images" in out
    assert "¹: with these weights" in out and any("hsnet" in line and "]¹" in line for line in out.splitlines())
    assert "and for other trainings, where the line does not say 'with these weights'" in " ".join(out.split())


def test_sentences_say_how_far_a_difference_reaches(tmp_path):
    qualities = {"emat": (0.7, 0.71, 0.705, 0.72, 0.704), "cst": (0.4, 0.41, 0.405, 0.42, 0.404)}
    runs = write_trainings(tmp_path / "several", qualities)
    (comparison,) = load_runs(runs).compare(metrics="mIoU").comparisons
    first, test = comparison.conclusions.sentences[0], comparison.conclusions.sentences[-1]
    assert first.startswith("emat is better than cst, whatever the training: ") and first.endswith("5 and 5 trainings.")
    assert test.endswith("holds for other images of these classes and other trainings, not for other classes.")
    runs = write_trainings(tmp_path / "one", {"emat": (0.7,), "cst": (0.4, 0.45)})
    (comparison,) = load_runs(runs).compare(metrics="mIoU").comparisons
    first = comparison.conclusions.sentences[0]
    assert first.startswith("emat is better than cst with these weights: ")
    assert first.endswith("; one training of emat, another may reverse it.")


def test_a_borrowed_spread_is_the_reason_why_nothing_is_starred(tmp_path):
    methods = {"emat": (0.7, 0.71, 0.705), "cst": (0.4, 0.41, 0.405)}
    runs = write_trainings(tmp_path, methods, folds=2, missing=[("emat", 1, 1), ("emat", 1, 2)])
    (comparison,) = load_runs(runs).compare(metrics="mIoU").comparisons
    (row,) = (row for row in comparison.rows if row.fold == "mean")
    assert row.is_borrowed and not row.significant and row.corrected < 0.05
    first = comparison.conclusions.sentences[0]
    assert "not told apart" in first and "a fold has only one training, which is too few to tell" in first
    assert "reverse" not in first and "may be chance" not in first


def test_runs_of_an_untrained_method_that_differ_by_rounding_are_one(tmp_path):
    """On another processor a pixel may change; a seed does not make it a training."""
    runs = write_trainings(tmp_path, {"prototype": (0.4, 0.41)})
    for record in load_runs(runs).records:
        rewrite(record, {"training": None})
    block = block_of(runs)
    assert block.reaches == {"prototype": Reach.UNTRAINED} and len(block.costs["prototype", "0"]) == 1


def test_rows_that_differ_in_the_training_alone_are_named_in_every_table(tmp_path, capsys):
    """Whole names at 120 columns, and whole words of them at 80; no label has a hash."""
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.0}}
    differing = ({}, {"optimizer": sgd}, {"gradient_clip_val": 0.5}, {"limit_val_batches": 0.0, "max_epochs": 1})
    for number, own in enumerate(differing):
        (record,) = write_study(tmp_path / str(number), {"lin": 0.5 + number / 10}, 1, classes=4, episodes=40)
        rewrite(record, {"training": TRAINED | own})
    names = {
        "lin (max_epochs 8)", "lin (max_epochs 8, optimizer SGD, lr 0.1)", "lin (gradient_clip_val 0.5, max_epochs 8)",
        "lin (limit_val_batches 0.0, max_epochs 1)",
    }  # fmt: skip
    assert {method for method, _ in block_of(tmp_path).lines} == names
    for width, shown in (("120", names), ("80", {name.split(" (")[1].split(",")[0].rstrip(")") for name in names})):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", width)
            assert main(["table", str(tmp_path), "--all"]) == 0
        out = capsys.readouterr().out
        assert all(name in out for name in shown)
