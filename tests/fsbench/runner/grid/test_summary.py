"""Scores of grids over all folds and seeds, and remarks on those that are no results."""

from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest

from fsbench.records.record import Record
from fsbench.results.sheets.data import table_records
from fsbench.results.sheets.text import table_lines
from fsbench.runner.grid.plan import PlannedRun
from fsbench.runner.grid.plan_sheet import absent_scores, to_sheet
from fsbench.runner.grid.spec import read_grid
from fsbench.runner.grid.summary import VALIDATION, remarks, summaries
from tests.fsbench.runner.grid.cells import cell_of, cells_with, finished
from tests.fsbench.runs import some_header, some_run


def test_scores_are_means_over_the_folds_and_seeds_that_are_done():
    scores = {(0, 0): 50.0, (1, 0): 60.0, (0, 1): 52.0, (1, 1): 64.0, (0, 2): 70.0, (1, 2): 80.0}
    (found,) = summaries(cells_with(scores), ["mIoU"])
    assert found.seeds == {0: 55, 1: 58, 2: 75} and found.is_whole
    assert found.value == mean([55, 58, 75])
    spread = ((stdev([50, 52, 70]) / 2) ** 2 + (stdev([60, 64, 80]) / 2) ** 2) ** 0.5  # folds share no training
    assert found.deviation == pytest.approx(spread)
    (shown,) = to_sheet(cells_with(scores), [found]).tables
    assert table_lines(shown)[2].endswith(" 2 of 2  3 of 3  62.67  7.64")
    (one,) = summaries(cells_with({(0, 0): 50.0, (1, 0): 60.0}), ["mIoU"])
    assert one.value == 55 and one.deviation is None


def test_scores_of_some_folds_and_seeds_say_so():
    """The folds are those that every seed has: no seed is better for the folds that it lacks."""
    scores = {(0, 0): 50.0, (1, 0): 60.0, (0, 1): 52.0, (1, 1): None, (0, 2): None, (1, 2): None}
    (found,) = summaries(cells_with(scores), ["mIoU"])
    assert found.seeds == {0: 50, 1: 52} and (found.folds, found.of, found.done, found.wanted) == (1, 2, 2, 3)
    assert found.value == 51 and not found.is_whole
    sheet = to_sheet(cells_with(scores), [found])
    assert table_lines(sheet.tables[-1])[2].endswith(f" 1 of 2  2 of 3  51.00  {stdev([50, 52]):.2f}")
    assert any("not of the whole test" in note for note in sheet.notes)


def test_a_grid_of_one_fold_is_complete():
    (found,) = summaries(cells_with({(0, 0): 50.0}), ["mIoU"])
    assert found.is_complete and not found.is_whole
    notes = to_sheet(cells_with({(0, 0): 50.0}), [found]).notes
    assert "folds 1 of 2: the grid has only fold 0; the mean is of that fold" in notes
    assert not any("not of the whole test" in note for note in notes)
    (other,) = summaries(cells_with({(0, 0): 50.0}, folds=4), ["mIoU"])
    only = "the grid has only fold 0; the mean is of that fold"
    assert absent_scores([found, other, other]) == [f"folds 1 of 2: {only}", f"folds 1 of 4: {only}"]


def test_runs_of_other_weights_never_fill_up_a_score(write):
    """Two grids of checkpoints and one of trainings have one fold done each, and each is told from the others."""
    files = [
        write(folds=[0, 1], seeds=[0], **more) for more in ({}, {"checkpoint": "x/{fold}"}, {"checkpoint": "y/{fold}"})
    ]
    done = {(None, 0), ("x/{fold}", 1), ("y/{fold}", 0)}
    planned = [
        PlannedRun(cell, Path("x"), finished(50.0) if (cell.checkpoint, cell.fold) in done else None)
        for cell in read_grid(files)
    ]
    found = summaries(planned, ["mIoU"])
    assert [(one.variant.checkpoint, one.done, one.wanted, one.value) for one in found] == [
        (None, 1, 1, 50.0), ("x/{fold}", 1, 1, 50.0), ("y/{fold}", 1, 1, 50.0),
    ]  # fmt: skip
    cells, scores = (table_records(table) for table in to_sheet(planned, found).tables)
    assert [row["options"] for row in cells] == ["–", "checkpoint x/{fold}", "checkpoint y/{fold}"]
    assert len({tuple(row.values()) for row in scores}) == 3


def validated(score, validation="base", rate="1e-3", seed=0):
    """A planned run that is done: the mIoU of its validation, and the classes of these episodes."""
    training = {"max_epochs": 2, "validation": validation}
    made = {} if score is None else {"validation_mIoU": score}
    record = Record(Path("x"), some_run({"training": training}, made=made))
    record.__dict__["scores"] = {"mIoU": 50.0}
    record.__dict__["header"] = some_header(folds=1)
    return PlannedRun(cell_of("emat", "demo", 0, 1, 1, None, seed, extra=(f"--model.lr={rate}",)), Path("x"), record)


def test_variants_are_sorted_by_their_validation_on_other_classes_than_the_tests():
    """The mean over seeds counts, not the best of them; a validation on novel classes is none."""
    planned = [
        *(validated(score, rate="1e-1", seed=seed) for seed, score in enumerate((10.0, 60.0))),
        *(validated(score, rate="1e-2", seed=seed) for seed, score in enumerate((40.0, 44.0))),
        validated(90.0, "novel", rate="1e-3"),
        validated(None, "none", rate="1e-4"),
    ]
    results = summaries(planned, [VALIDATION, "mIoU"])
    sheet = to_sheet(planned, results)
    assert [(row["options"], row[VALIDATION]) for row in table_records(sheet.tables[-1])] == [
        ("--model.lr=1e-2", 42.0), ("--model.lr=1e-1", 35.0), ("--model.lr=1e-3", None), ("--model.lr=1e-4", None),
    ]  # fmt: skip
    assert "–: emat on demo has no val/mIoU" in sheet.notes
    in_order = [one.variant.extra[0] for one in summaries(planned, ["mIoU", VALIDATION]) if one.metric == "mIoU"]
    assert in_order == [f"--model.lr=1e-{number}" for number in (1, 2, 3, 4)]


def test_tests_are_not_sorted_together():
    other = replace(validated(70.0), config=cell_of("emat", "folder", 0, 1, 1, None, 0))
    found = summaries([validated(20.0, rate="1e-1"), other, validated(30.0, rate="1e-2")], [VALIDATION])
    assert [(one.variant.dataset, one.value) for one in found] == [("demo", 30.0), ("demo", 20.0), ("folder", 70.0)]


def test_a_score_that_no_run_has_says_so():
    def reasons(scores, metrics):
        return absent_scores(summaries(cells_with(scores), metrics))

    whole = {(0, 0): 50.0, (1, 0): 60.0}
    assert reasons(whole, ["mIoU"]) == []
    assert reasons(whole, ["mIoU", "ROM"]) == ["–: prototype on demo has no ROM"]


def test_what_makes_scores_no_results_is_said(make):
    """A trial with random weights beside a run with all episodes."""

    def planned(method, record):
        return PlannedRun(cell_of(method, "folder", 0, 1, 1, None, 0), record.path, record)

    trial = make("emat", 0, weights="random (seed 0)", episodes=6)
    random, few, lists = remarks([planned("emat", trial), planned("prototype", make("prototype", 0, episodes=1000))])
    assert lists.startswith("image lists: ")
    assert few == "emat folder 1-way 1-shot: a trial, not a result: 6 episodes, and the protocol has 1000"
    assert random.startswith("emat folder 1-way 1-shot: emat: backbone b has random (seed 0) weights")


def test_a_cell_without_a_seed_is_no_seed_more():
    """It has the configuration's seed, which may be the one that another cell names."""
    found = summaries(cells_with({(0, 0): 50.0, (0, None): 50.0}, folds=1), ["mIoU"])
    assert [(one.wanted, one.value, one.deviation) for one in found] == [(1, 50, None)] * 2
