"""Runs as jobs of a real SLURM: grids, trainings in several tasks, jobs that are cancelled and requeued."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fsbench.records.record import Record, find_records
from fsbench.runner.grid.spec import read_grid
from tests.cli.commands import images_of, run_command
from tests.cli.conftest import environment_of_test
from tests.cli.pausing import pause_training
from tests.cli.processes import GOES_ON, same, the_record, wait_for
from tests.config_words import config_words
from tests.slurm.cluster import processes_of, started_slurm

pytestmark = pytest.mark.slow(50)

FSBENCH = [sys.executable, "-m", "fsbench"]


@pytest.fixture
def training(small_demo: Path) -> Callable[..., list[str]]:
    """training(runs, devices) -> arguments of a run of two epochs and some test episodes."""

    def arguments(runs: Path, devices: int, *more: str) -> list[str]:
        few = [
            "--data.test.episodes=8", "--data.training.batch_size=4", "--data.training.validation_episodes=2",
            "--data.loading.workers=0", "--data.image_size=64",
            "--trainer.max_epochs=3", "--trainer.limit_train_batches=2", "--trainer.accelerator=cpu",
        ]  # fmt: skip
        return run_command("hsnet", runs, small_demo, *few, *more, devices=devices)

    return arguments


def equal(record: Record, whole: Record) -> None:
    same(record, whole)
    assert (record.path / "episodes.parquet").read_bytes() == (whole.path / "episodes.parquet").read_bytes()


def test_a_grid_as_an_array_of_jobs(slurm, fsbench, warm, small_demo, tmp_path):
    """With the records of the same grid on this machine; a job that fails is reported; no accounts are said once.

    The site exports nothing, as many do.
    """
    extra = ["--data.test.episodes=6", "--data.loading.workers=0", images_of(small_demo)[0]]
    given = {"methods": ["prototype"], "datasets": ["demo"], "folds": [0, 1], "data_roots": {"demo": str(small_demo)}}
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(given | {"extra": extra}))
    bad = given | {"methods": ["emat"], "folds": [0], "extra": [*extra, "--trainer.limit_train_batches=0"]}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(bad))
    jobs = ["--executor", "slurm", "--array", "2", "--set", "timeout_min=10"]
    folder, here, site = tmp_path / "jobs", tmp_path / "here", slurm.environment | {"SBATCH_EXPORT": "NONE"}
    done = fsbench("grid", "good.yaml", "bad.yaml", "--runs", str(folder), "--run", *jobs, **site)
    assert done.returncode == 1 and done.stderr.count(": done") == 2 and "Traceback" not in done.stderr, done.stderr
    assert "training ended without a validation" in done.stderr and "2 of 3 runs done, 1 stopped" in done.stdout
    assert done.stderr.count("sacct") == 1 and "Bypassing" not in done.stderr
    for cell in read_grid([tmp_path / "good.yaml"], runs=str(here)):
        alone = warm("bench", *config_words(cell))
        assert alone.returncode == 0, alone.stderr
    records, whole = find_records(folder), find_records(here)
    assert len(records) == len(whole) == 2
    for one, other in zip(records, whole, strict=True):
        equal(one, other)


def test_a_job_that_is_out_of_time_is_requeued_and_goes_on(slurm, spawn, small_demo, tmp_path):
    """At the signal that SLURM sends before the limit of a job; then it is cancelled. The grid says how it ended."""
    few = ["--data.test.episodes=8", "--data.training.batch_size=4", "--data.training.validation_episodes=2"]
    few += ["--data.loading.workers=0", "--data.image_size=64"]
    few += ["--trainer.max_epochs=3", "--trainer.limit_train_batches=2"]
    extra = [*few, "--trainer.accelerator=cpu", images_of(small_demo)[0], *pause_training(tmp_path / "goes on")]
    given = {"methods": ["hsnet"], "datasets": ["demo"], "folds": [0], "data_roots": {"demo": str(small_demo)}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(given | {"extra": extra}))
    jobs = ["--executor", "slurm", "--set", "timeout_min=10"]
    grid = spawn("grid", "grid.yaml", "--runs", "runs", "--run", *jobs, **slurm.environment)
    wait_for(lambda: any(tmp_path.glob("runs/*/checkpoints/last.ckpt")), grid)
    (note,) = tmp_path.glob("runs/.grid/configs/*.job")
    slurm.call("scancel", "--signal=USR2", note.read_text())
    (log,) = tmp_path.glob("runs/*/run.log")
    wait_for(lambda: "training continues from" in log.read_text(), grid)
    slurm.call("scancel", note.read_text())
    _, err = grid.communicate(timeout=240)
    assert grid.returncode == 1 and err.count(": failed") == 1, err
    assert f"hsnet demo fold 0 failed (cancelled); {GOES_ON}; the end of runs/.grid/logs/hsnet-" in err


@pytest.mark.slow(190)
def test_a_training_in_two_tasks_is_requeued_and_cancelled_and_goes_on(slurm, finish, training, tmp_path):
    """The record of two processes that nobody disturbed, and the hash of one process. The job is called bash."""
    whole, runs, goes_on = tmp_path / "whole", tmp_path / "runs", tmp_path / "goes on"
    environment, pauses = environment_of_test(tmp_path), pause_training(goes_on)
    goes_on.touch()
    finish(training(whole, 2, *pauses), 2)
    goes_on.unlink()
    command, given = [*FSBENCH, *training(runs, 2, *pauses)], environment | slurm.environment
    log = tmp_path / "job.log"

    def started_again() -> bool:  # both processes write to the log
        return any("training continues from" in file.read_text() for file in runs.glob("*/run.log"))

    job = slurm.submit(command, tmp_path, 2, given)
    slurm.wait(lambda: any(runs.glob("*/checkpoints/last.ckpt")) or slurm.state(job) == "FAILED", f"an epoch of {log}")
    assert not any(runs.glob("*/checkpoints/finished.json")), log.read_text()
    slurm.call("scontrol", "requeue", job)
    slurm.wait(lambda: started_again() or slurm.state(job) in ("COMPLETED", "FAILED"), f"a second start in {log}")
    slurm.call("scancel", job)
    slurm.wait(lambda: slurm.state(job) == "CANCELLED", "the end of a cancelled job")
    assert not find_records(runs)
    goes_on.touch()
    job = slurm.submit(command, tmp_path, 2, given)
    slurm.wait(lambda: slurm.state(job) in ("COMPLETED", "FAILED"), f"the end of {log}")
    assert slurm.state(job) == "COMPLETED", log.read_text()
    record = the_record(runs)
    equal(record, the_record(whole))
    assert record.run.provenance.processes == 2
    finish(training(tmp_path / "alone", 1, *pauses))
    assert the_record(tmp_path / "alone").path.name == record.path.name


def test_tasks_that_are_no_processes_of_the_run_are_refused_in_one_line(slurm, training, tmp_path):
    """As many tasks as processes, without the option that Lightning reads; too many of them; none of srun's."""
    environment = environment_of_test(tmp_path) | slurm.environment
    unsaid = "the number of tasks on each node is not given; expected srun --ntasks-per-node=2 fsbench bench …"
    other = "expected srun --ntasks-per-node=1 fsbench bench …, or --trainer.devices 2"
    for devices, option, words in ((2, "--ntasks=2", unsaid), (1, "--ntasks-per-node=2", other)):
        command = ["srun", option, *FSBENCH, *training(tmp_path / "runs", devices)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
        (line,) = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("srun: ")]
        assert done.returncode == 2 and line.startswith("fsbench: error: SLURM has 2 tasks on 1 node") and words in line
    assert not (tmp_path / "runs").exists()


def test_nothing_of_a_slurm_is_left(slurm):
    with pytest.raises(ZeroDivisionError), started_slurm() as other:
        other.call("sbatch", "--wrap=sleep 600", "--chdir=/tmp", "--output=/dev/null")
        other.wait(lambda: "RUNNING" in other.call("squeue", "--noheader", "--format=%T"), "a job", 120)
        assert len(processes_of(other)) >= 4
        raise ZeroDivisionError
    assert not processes_of(other) and not other.folder.exists()
    assert slurm.call("sinfo", "--noheader", "--format=%T")  # this one goes on
