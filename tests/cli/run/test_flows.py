"""What a user does: run, run again, stop and go on, use several processes, read the table."""

import json
import re
import shutil

import polars as pl
import pytest

from fsbench.cli.main import main
from fsbench.records.record import Record, find_records
from fsbench.results.published.obstacles import why_not_comparable
from fsbench.runner.papers.results import published_scores
from tests.cli.commands import FEW, run_command
from tests.cli.pausing import pause_after, pause_training
from tests.cli.processes import in_journal, interrupt, the_record, wait_for


def facts(record: Record) -> dict:
    """Return the facts that must not depend on who started a run: all but times, memory and the folder of runs.

    A checkpoint names that folder, so its hash is another.
    """
    differs = ("cost", "provenance", "made", "seal")
    run = {key: value for key, value in record.run.as_json().items() if key not in differs}
    return json.loads(json.dumps(run).replace(str(record.path.parent), "RUNS"))


@pytest.mark.slow(30)
def test_a_training_in_a_process_of_its_own_prints_the_table_and_leaves_the_record_of_one_alone(
    fsbench, warm, run_arguments, bench_arguments, tmp_path, capsys
):
    """Runs of `fsbench bench` leave the records of runs that `fsbench bench --config` is called for."""
    first = fsbench(*bench_arguments("emat", tmp_path / "runs"))
    assert first.returncode == 0, first.stderr
    assert main(bench_arguments("emat", tmp_path / "runs")) == 0
    again = capsys.readouterr()
    assert ": done before, in " in again.err and again.out == first.stdout
    alone = warm(*run_arguments("emat", tmp_path / "alone"))
    assert alone.returncode == 0, alone.stderr
    ours, theirs = (the_record(tmp_path / name) for name in ("runs", "alone"))
    assert facts(ours) == facts(theirs) and ours.episodes.equals(theirs.episodes)
    assert ours.path.name == theirs.path.name
    files = {path.name for path in theirs.path.iterdir()}
    assert {path.name for path in ours.path.iterdir()} == files
    for name in files & {"predictions.parquet", "predictions.png", "manifest.jsonl"}:
        assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), name


def test_train_evaluate_and_find_again(run_arguments, bench_arguments, tmp_path, capsys):
    runs, small = tmp_path / "runs", ["--data.training.batch_size=2", "--trainer.limit_train_batches=1"]
    assert main(run_arguments("emat", runs, *small)) == 0
    record = the_record(runs)
    run = record.run
    assert run.cost.trainable_parameters > 50_000 and run.cost.episodes_per_second > 0
    assert run.made.epochs == 2 and run.identity.training["limit_train_batches"] == 1
    assert run.identity.backbone.as_json() == {"name": "demo", "weights": run.identity.backbone.weights}
    assert len(record.episodes.filter(pl.col("slot") == 0)) == 9
    assert (record.path / "checkpoints" / "best.ckpt").is_file()
    training = run.weights.training
    assert run.weights.origin == "trained here" and training.settings == run.identity.training
    assert (training.image_size, training.precision, training.tf32) == (128, "32-true", False)
    assert (training.chosen_by, training.episodes, training.official_episodes) == ("val/mIoU", 5, 1000)
    assert not (record.path / "evaluation").exists()
    paper = next(f for f in published_scores() if (f.method, f.dataset, f.stated) == ("EMAT", "pascal", "original"))
    assert why_not_comparable(record, paper) == [  # the demo's configuration and these arguments
        "method another instead of EMAT", "data set demo instead of pascal", "way 1 instead of 2",
        "episodes 9 instead of 1000", "image lists derived instead of official",
        "backbone demo instead of dinov2_vits14", "image size 128 instead of 700", "support_side 8 instead of 20",
        "presence_weight 0.3 instead of 0.1", "epochs 2 instead of 80", "effective batch 2 instead of 27",
        "validation on classes base instead of novel", "validation episodes 5 instead of 1000",
        "limit_train_batches 1 instead of none", "fill_to 1 instead of 3", "optimizer another instead of the method's",
        "lr_scheduler another instead of the method's", "training lists derived instead of official",
    ]  # fmt: skip
    changed = (record.path / "run.json").stat().st_mtime_ns

    capsys.readouterr()
    assert main(bench_arguments("emat", runs, *small)) == 0
    again = capsys.readouterr()
    assert ": done before, in " in again.err and (record.path / "run.json").stat().st_mtime_ns == changed
    assert "emat" in again.out and "trial, not a result" in again.out
    assert "(best without a model)" in again.out
    commands = [f"  fsbench table {record.path} --all", f"  fsbench report {record.path}"]
    assert again.out.splitlines()[-3:] == ["next:", *commands] and (record.path / "predictions.png").is_file()

    assert main(["table", str(runs), "--format", "json"]) == 0
    (block,) = json.loads(capsys.readouterr().out)
    assert block["rows"][0]["scores"]["mIoU"]["value"] == pytest.approx(record.scores["mIoU"])


@pytest.mark.slow(2)
def test_a_run_that_lost_its_counts_is_made_again_by_force(finished_runs, small_demo, tmp_path, capsys):
    runs = shutil.copytree(finished_runs, tmp_path / "runs")
    before = the_record(runs)
    (before.path / "episodes.parquet").unlink()
    assert main(run_command("prototype", runs, small_demo, *FEW)) == 2
    assert "run it again with --force" in capsys.readouterr().err.splitlines()[-1]
    assert main(run_command("prototype", runs, small_demo, *FEW, "--run.force=true")) == 0
    assert the_record(runs).counts_sha256 == before.counts_sha256


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_tested_and_named(warm, bench_arguments, tmp_path):
    assert warm(*bench_arguments("emat", tmp_path / "trained")).returncode == 0
    trained = the_record(tmp_path / "trained")
    checkpoint = trained.path / "checkpoints" / "best.ckpt"
    more = ["--ckpt", str(checkpoint), "--data.test.way=2", "--data.test.shot=2"]
    done = warm(*bench_arguments("emat", tmp_path / "tested", *more))
    assert done.returncode == 0, done.stderr
    assert the_record(tmp_path / "tested").run.weights.as_json() == {
        "origin": "another run", "training": trained.run.weights.training.as_json(),
        "trained_on": {"dataset": "demo", "fold": 0, "protocol": "fscs", "classes": 15},
    }  # fmt: skip


@pytest.mark.slow
def test_more_processes_than_episodes(finish, small_demo, tmp_path):
    one = [*FEW, "--data.test.episodes=1"]
    finish(run_command("prototype", tmp_path / "runs", small_demo, *one, devices=2), 2)
    assert len(the_record(tmp_path / "runs").episodes) == 2  # one episode: any foreground, and its way


@pytest.mark.slow
def test_two_processes_train_together(finish, small_demo, tmp_path):
    options = [*FEW, "--data.training.batch_size=12", "--data.training.micro_batch=3", "--trainer.max_epochs=1"]
    options.append("--trainer.limit_train_batches=2")
    finish(run_command("cst", tmp_path / "runs", small_demo, *options, devices=2), 2)
    run = the_record(tmp_path / "runs").run
    assert run.made.step == {"batch_size": 12, "processes": 2, "micro_batch": 3}
    assert run.identity.training["batch_size"] == 12 and run.made.validation_mIoU >= 0


@pytest.mark.slow
def test_loggers_callbacks_optimisers_and_the_precision_of_the_user_are_used(warm, bench_arguments, tmp_path):
    more = [
        "--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'mine'}",
        "--trainer.callbacks+=LearningRateMonitor", "--optimizer=SGD", "--optimizer.lr=0.125",
        "--lr_scheduler=ExponentialLR", "--lr_scheduler.gamma=0.5", "--trainer.precision=bf16-mixed",
    ]  # fmt: skip
    done = warm(*bench_arguments("emat", tmp_path / "runs", *more))
    assert done.returncode == 0, done.stderr
    (mine,) = (tmp_path / "mine").glob("**/metrics.csv")
    assert pl.read_csv(mine)["lr-SGD"].drop_nulls().to_list() == [0.125, 0.0625]
    identity = the_record(tmp_path / "runs").run.identity
    assert identity.training["optimizer"]["init_args"]["lr"] == 0.125 and identity.precision == "bf16-mixed"


@pytest.mark.slow(30)
def test_stopped_training_goes_on_from_its_last_epoch(spawn, warm, bench_arguments, tmp_path):
    goes_on = tmp_path / "goes on"
    more = ["--trainer.max_epochs=3", "--trainer.limit_train_batches=8", *pause_training(goes_on)]
    arguments, whole = (bench_arguments("emat", tmp_path / name, *more) for name in ("runs", "whole"))
    process = spawn(*arguments)
    wait_for(lambda: list((tmp_path / "runs").glob("*/checkpoints/last.ckpt")), process)
    interrupt(process)
    assert not find_records(tmp_path / "runs")
    goes_on.touch()
    done = warm(*arguments)
    assert done.returncode == 0, done.stderr
    record = the_record(tmp_path / "runs")
    assert "training continues from" in (record.path / "run.log").read_text()
    assert record.run.made.epochs == 3
    assert warm(*whole).returncode == 0
    assert the_record(tmp_path / "whole").counts_sha256 == record.counts_sha256


@pytest.mark.slow(11)
@pytest.mark.parametrize("command", ["bench_arguments", "run_arguments"])
def test_stopped_evaluation_loses_nothing(spawn, request, command, small_demo, finished_runs, tmp_path):
    one, arguments = "--data.loading.eval_batch_size=1", request.getfixturevalue(command)
    process = spawn(*arguments("prototype", tmp_path / "runs", one), *pause_after(4))
    wait_for(lambda: in_journal(tmp_path / "runs") >= 4, process)
    interrupt(process, alone=True)
    assert in_journal(tmp_path / "runs") == 4 and not find_records(tmp_path / "runs")
    assert main(run_command("prototype", tmp_path / "runs", small_demo, *FEW, one)) == 0
    record = the_record(tmp_path / "runs")
    assert "evaluation: 5 of 9 episodes are left" in (record.path / "run.log").read_text()
    assert the_record(finished_runs).counts_sha256 == record.counts_sha256


@pytest.mark.slow(20)
def test_methods_of_two_kinds_stand_in_one_table(warm, bench_arguments, tmp_path):
    few = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.training.batch_size=2"]
    done = warm(*bench_arguments("prototype,emat_seg", tmp_path / "runs", *few))
    assert done.returncode == 0, done.stderr
    for name in ("prototype", "emat_seg"):
        assert re.search(rf"^{name}\S? ", done.stdout, re.MULTILINE)  # with the mark of its card
    assert "emat_seg: does not say whether a way is present; a way counts as present if" in done.stdout
    assert "no empty queries" in done.stdout  # a block of its own: other episodes
