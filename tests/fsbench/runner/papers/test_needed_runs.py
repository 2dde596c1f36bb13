"""The runs of papers: a training is made once, and comes before the tests of its checkpoint."""

from dataclasses import replace

import pytest

from fsbench.base.paths import weights_folder
from fsbench.runner.papers.files import paper_rows, read_paper
from fsbench.runner.papers.needed_runs import paper_runs, why_no_runs, with_preparations


def all_runs(name, roots=None, **options):
    return paper_runs(paper_rows(name, read_paper(name)), roots or {}, **options)


def test_one_training_serves_all_settings_of_a_fold():
    """EMAT's table has 2 methods, 2 data sets and 3 settings: 16 trainings on 4 folds, and 32 tests of them."""
    runs = [run for of_row in all_runs("emat").values() for run in of_row]
    assert len(runs) == len(set(runs)) == 48
    training = [run for run in runs if run.tested is None]
    assert len(training) == 16 and {run.config.setting for run in training} == {"original"}
    tests = [run for run in runs if run.tested is not None]
    assert {run.tested for run in tests} == set(training)
    for run in tests:
        same = ("method", "dataset", "fold", "way", "shot")
        assert all(getattr(run.config, name) == getattr(run.tested.config, name) for name in same)


def test_rows_that_are_the_same_run_are_one_run():
    """DCAMA with Swin-B on PASCAL-5i, 1-shot, stands in six tables."""
    runs = all_runs("dcama")
    plain = [row for row in runs if (row.method, row.task) == ("dcama", "pascal 1-way 1-shot hsnet")]
    tables = {row.table for row in plain if runs[row]}
    assert tables == {"1", "3", "S1", "S3", "S4", "S5", "A"}
    assert len({run for row in plain for run in runs[row] if run.config.fold == 0}) == 1


def test_options_that_change_training_make_another():
    runs = all_runs("dcama")
    fold = {row.method: runs[row][0] for row in runs if row.dataset == "pascal" and runs[row]}
    assert fold["dcama (nshot_strategy=vote)"].tested in (fold["dcama"], fold["dcama"].tested)
    assert fold["dcama (skip_4)"].tested is None


def test_another_protocol_is_another_training():
    """It has lists, episodes and a resize of its own; the test of one does not start from the other's checkpoint."""
    (row, *_) = paper_rows("cst", read_paper("cst"))
    other = replace(row, entry=row.entry.model_copy(update={"protocol": "hsnet"}))
    first, second = (runs[0] for runs in paper_runs([row, other], {}).values())
    assert first.config.protocol == "fscs" and second.config.protocol == "hsnet"
    assert first.tested is None and second.tested is None


def test_a_table_alone_brings_the_trainings_it_needs_and_they_come_first():
    runs = all_runs("hmnet")
    wanted = [run for row in runs if row.table == "6" for run in runs[row]]
    ordered = with_preparations(wanted)
    extra = [run for run in ordered if run not in wanted]
    assert {run.config.method for run in extra} == {"pspnet"} and len(extra) == 4  # each fold's base learner
    done = set()
    for run in ordered:
        assert set(run.needs) <= done
        done.add(run)
    alone = with_preparations(run for run in wanted if run.config.test_seed == 0)
    assert sum(run.tested is None for run in alone) == 8  # base learners and HMNet itself, which table 2 makes


def test_what_learns_nothing_has_no_training():
    runs = [run for of_row in all_runs("fort").values() for run in of_row]
    assert runs and all(run.needs == [] for run in runs)
    assert all(run.config.setting is None and run.config.protocol is None for run in runs)


def test_released_checkpoints_are_tested_instead():
    runs = all_runs("emat", released=True)
    one = next(run for row, of_row in runs.items() for run in of_row if row.dataset == "coco" and run.config.fold == 2)
    assert one.released == str(weights_folder() / "emat-coco/fold-2/best.ckpt") and one.needs == []
    unknown = all_runs("cst", released=True)
    assert set(map(len, unknown.values())) == {0}
    (why,) = {why_no_runs(row.entry, released=True) for row in unknown}
    assert why.endswith("test them with make bench CKPT=<file>")


@pytest.mark.parametrize("name", ["emat", "fort"])
def test_options_of_the_user_reach_every_run(name):
    dataset = {"emat": "pascal", "fort": "cub"}[name]
    found = all_runs(name, {dataset: "/data/here"}, devices=3, seed=5, fast=True)
    runs = [run.config for of_row in found.values() for run in of_row]
    assert {(r.devices, r.seed, r.fast) for r in runs} == {(3, 5, True)}
    assert {r.data_root for r in runs if r.dataset == dataset} == {"/data/here"}
    assert {r.data_root for r in runs if r.dataset != dataset} == {None}
