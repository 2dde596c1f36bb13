"""`fsbench grid --run` with real processes, of this machine and through submitit."""

import json
import re

import pytest
import yaml

from fsbench.cli.main import main
from fsbench.records.record import find_records
from tests.cli.commands import FEW, images_of


@pytest.fixture
def grid(small_demo, tmp_path):
    """grid(name, **values) -> a grid's file on the small data set."""

    def write(name, **values):
        extra = [*FEW, images_of(small_demo)[0], *values.pop("extra", [])]
        file = tmp_path / f"{name}.yaml"
        given = {"methods": ["prototype"], "datasets": ["demo"], "folds": [0], "data_roots": {"demo": str(small_demo)}}
        file.write_text(yaml.safe_dump(given | values | {"extra": extra}))
        return str(file)

    return write


@pytest.mark.slow(30)
def test_a_grid_runs_what_is_missing_and_goes_past_failures(warm, grid, tmp_path):
    runs = ["--runs", "runs"]
    good = grid("good", folds=[0, 1], seeds=[0, 1])  # of a method that is not trained each fold runs once
    bad = grid("bad", methods=["emat"], extra=["--trainer.limit_train_batches=0"])
    listed = warm("grid", bad, good, *runs, "--format", "json")
    assert listed.returncode == 0, listed.stderr
    assert [cell["state"] for cell in json.loads(listed.stdout)["runs"]] == ["waiting"] * 3
    done = warm("grid", bad, good, *runs, "--run", "--array", "2")
    assert done.returncode == 1
    assert "emat demo fold 0 failed (status 2); the end of runs/.grid/logs/emat-demo-fold-0-" in done.stderr
    assert "training ended without a validation" in done.stderr and done.stderr.count(": done") == 2
    assert "2 of 3 runs done, 1 stopped" in done.stdout and "a trial, not a result: 9 episodes" in done.stdout
    (scores,) = (line.split() for line in done.stdout.splitlines() if "1 of 1" in line)
    assert re.search(r"2 of 4 1 of 1 \d+\.\d\d( (\d+\.\d\d|–))*$", " ".join(scores)), scores
    assert "the grid has only folds 0, 1; the mean is of these folds" in done.stdout
    assert "prototype: one seed, since nothing is trained" in done.stdout
    records = find_records(tmp_path / "runs")
    assert sorted((record.run.identity.fold, record.run.identity.seed) for record in records) == [(0, 0), (1, 0)]
    before = [(r.path / "run.json").stat().st_mtime_ns for r in records]
    again = warm("grid", good, *runs, "--run")
    assert again.returncode == 0 and again.stderr.count(": done") == 0 and "2 of 2 runs done" in again.stdout
    assert again.stdout.splitlines()[-2:] == ["  fsbench table runs --all", "  fsbench report runs"]
    assert [(r.path / "run.json").stat().st_mtime_ns for r in records] == before


@pytest.mark.slow(30)
def test_a_grid_shows_the_validation_on_base_classes_and_sorts_by_it(warm, grid, tmp_path):
    rates = [f"--model.learning_rate={rate}" for rate in ("1e-6", "1e-2")]
    small = ["--data.training.validation=base", "--trainer.max_epochs=1", "--trainer.limit_train_batches=4"]
    file = grid("rates", methods=["emat"], extra=small, variants=[[rate] for rate in rates])
    assert warm("grid", file, grid("none"), "--runs", "runs", "--run").returncode == 0
    listed = warm("grid", file, grid("none"), "--runs", "runs", "--metrics", "val/mIoU", "--format", "json").stdout
    validations = [record.run.made.validation_mIoU for record in find_records(tmp_path / "runs")]
    scored = sorted((score for score in validations if score is not None), reverse=True)
    assert [one["value"] for one in json.loads(listed)["scores"]] == [*scored, None] and len(scored) == 2
    shown = warm("grid", file, grid("none"), "--runs", "runs", COLUMNS="120").stdout
    (head,) = (line.split() for line in shown.splitlines() if line.startswith("method "))
    assert [word for word in head if "mIoU" in word] == ["mIoU", "val/mIoU"]
    (untrained,) = (line for line in shown.splitlines() if line.startswith("prototype "))
    assert untrained.endswith(" –") and "val/mIoU" not in warm("grid", grid("none"), "--runs", "runs").stdout


@pytest.mark.slow(30)
def test_submitit_runs_cells_in_jobs_of_their_own(warm, grid, tmp_path):
    good, bad = grid("good"), grid("bad", methods=["emat"], extra=["--trainer.limit_train_batches=0"])
    done = warm("grid", good, bad, "--runs", "runs", "--run", "--executor", "submitit-local", "--array", "2",
                   "--set", "timeout_min=10")  # fmt: skip
    assert done.returncode == 1 and "training ended without a validation" in done.stderr, done.stderr
    (record,) = find_records(tmp_path / "runs")
    assert record.run.identity.method.name == "prototype"
    assert list((tmp_path / "runs/.grid/submitit").glob("*_submitted.pkl"))  # it was a job of submitit


def test_slurm_that_is_not_there_is_said(capsys, monkeypatch, grid, tmp_path):
    """On a path without sbatch and srun, whatever is installed."""
    runs = ["--runs", str(tmp_path / "runs")]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["grid", grid("good"), *runs, "--run", "--executor", "slurm"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and error.splitlines()[-1].startswith("fsbench: error: slurm: ")
