"""Scores of grids over all folds and seeds, and remarks on those that are no results."""

from pathlib import Path
from statistics import mean, stdev

from fsbench.runner.grid.layout import absent_scores, to_sheet
from fsbench.runner.grid.plan import PlannedRun
from fsbench.runner.grid.spec import read_grid
from fsbench.runner.grid.summary import remarks, summaries
from tests.fsbench.runner.grid.cells import cell_of, cells_with, finished


def test_scores_are_those_of_all_seeds_or_none():
    scores = {(0, 0): 50.0, (1, 0): 60.0, (0, 1): 52.0, (1, 1): 64.0, (0, 2): 70.0, (1, 2): 80.0}
    (found,) = summaries(cells_with(scores), ["mIoU"])
    assert found.seeds == {0: 55, 1: 58, 2: 75}
    assert found.value == mean([55, 58, 75]) and found.deviation == stdev([55, 58, 75])
    ((_, shown),) = to_sheet(cells_with(scores), [found]).parts
    assert shown[1][-3:] == ["2 of 2", "3 of 3", "62.67 ± 10.79"]
    (partly,) = summaries(cells_with(scores | {(1, 1): None}), ["mIoU"])
    assert partly.seeds == {0: 55, 2: 75} and partly.wanted == 3
    assert partly.value is None and partly.deviation is None
    (one,) = summaries(cells_with({(0, 0): 50.0, (1, 0): 60.0}), ["mIoU"])
    assert one.value == 55 and one.deviation is None


def test_runs_of_other_weights_never_fill_up_a_score(write):
    """Two grids of checkpoints and one of trainings have one fold done each: no score is complete, and each is told
    from the others."""
    files = [write(folds=[0, 1], seeds=[0], **more) for more in ({}, {"checkpoint": "x/{fold}"}, {"checkpoint": "y"})]
    done = {(None, 0), ("x/{fold}", 1), ("y", 0)}
    planned = [
        PlannedRun(cell, Path("x"), finished(50.0) if (cell.request.checkpoint, cell.fold) in done else None)
        for cell in read_grid(files)
    ]
    found = summaries(planned, ["mIoU"])
    assert [(one.variant.request.checkpoint, one.done, one.wanted, one.value) for one in found] == [
        (None, 0, 1, None), ("x/{fold}", 0, 1, None), ("y", 0, 1, None),
    ]  # fmt: skip
    (_, cells), (_, scores) = to_sheet(planned, found).parts
    assert [row[cells[0].index("options")] for row in cells[1:]] == ["–", "checkpoint x/{fold}", "checkpoint y"]
    assert len({tuple(row) for row in scores}) == 4


def test_a_mean_stands_only_where_every_fold_of_the_data_set_is_there():
    planned = cells_with({(fold, seed): 50.0 for fold in (0, 1) for seed in (0, 1)}, folds=4)
    (found,) = summaries(planned, ["mIoU"])
    assert (found.folds, found.of, found.done, found.wanted) == (2, 4, 2, 2)
    assert found.value is None and found.deviation is None and found.seeds == {}
    sheet = to_sheet(planned, [found])
    ((_, scores),) = sheet.parts
    assert [scores[1][scores[0].index(name)] for name in ("folds", "seeds done", "mIoU")] == ["2 of 4", "2 of 2", "–"]
    (why,) = absent_scores([found])
    assert why in sheet.notes and "all 4 folds of the data set, and the grid names 2" in why and "--by fold" in why


def test_each_dash_of_a_grid_has_its_reason_once():
    def reasons(scores, metrics):
        return absent_scores(summaries(cells_with(scores), metrics))

    whole = {(0, 0): 50.0, (1, 0): 60.0}
    assert reasons(whole, ["mIoU"]) == []
    (lacks,) = reasons(whole, ["mIoU", "ROM"])
    assert lacks.endswith("its runs have no ROM")
    for partly, done in (({**whole, (1, 0): None}, "0 of 1"), ({**whole, (0, 1): 52.0, (1, 1): None}, "1 of 2")):
        (left,) = reasons(partly, ["mIoU", "ROM"])
        assert f"{done} seeds are done; --run runs what is left" in left


def test_what_makes_scores_no_results_is_said(make):
    """A trial with random weights beside a run with all episodes, and one whose manifest is gone."""

    def planned(method, record):
        return PlannedRun(cell_of(method, "folder", 0, 1, 1, None, 0), record.path, record)

    trial = make("emat", 0, weights="random (seed 0)", episodes=6)
    lost = make("cst", 0)
    (lost.path / "manifest.jsonl").unlink()
    items = [planned("emat", trial), planned("prototype", make("prototype", 0, episodes=1000)), planned("cst", lost)]
    few, lists, random, left = remarks(items)
    assert lists.startswith("image lists: ")
    assert few == "emat folder 1-way 1-shot: 6 instead of the protocol's 1000 episodes: a trial, not a result"
    assert random.startswith("emat folder 1-way 1-shot: emat: backbone b has random (seed 0) weights")
    assert left.startswith("cst folder 1-way 1-shot: left out: there is no manifest")
    assert [found.done for found in summaries(items, ["mIoU"])] == [1, 1, 0]


def test_a_cell_without_a_seed_is_no_seed_more():
    """It has the configuration's seed, which may be the one that another cell names."""
    found = summaries(cells_with({(0, 0): 50.0, (0, None): 50.0}, folds=1), ["mIoU"])
    assert [(one.wanted, one.value, one.deviation) for one in found] == [(1, 50, None)] * 2
