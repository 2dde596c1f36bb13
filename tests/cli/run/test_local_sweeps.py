"""`fsbench sweep --local`: W&B's file on this machine, gone on with where it was interrupted, trainings ended early."""

import json

import pytest
import yaml

from fsbench.cli.main import main
from fsbench.records.record import find_records

pytestmark = pytest.mark.slow(60)


def sweep_file(folder, arguments, **entries):
    command = ["${env}", "python", "-m", "fsbench", *arguments, "--no-trivial", "${args}"]
    content = {"program": "fsbench", "method": "grid", "command": command} | entries
    (folder / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_a_grid_is_run_found_again_and_shown(warm, bench_arguments, tmp_path):
    parameters = {"model.selection": {"values": ["fixed", "support"]}, "fold": {"value": 0}}
    metric = {"name": "test/mIoU", "goal": "maximize"}
    sweep_file(tmp_path, bench_arguments("prototype", "elsewhere"), parameters=parameters, metric=metric)
    asked = ["sweep", "mine.yaml", "--local"]
    first = warm(*asked, "--count", "1")
    assert first.returncode == 0 and "mine: grid, 1 trials: 1 done" in first.stdout, first.stderr
    done = warm(*asked)
    assert done.returncode == 0 and "2 trials: 2 done" in done.stdout, done.stderr
    assert "trial 1:" not in done.stderr and "trial 2: done test/mIoU" in done.stderr
    (state,) = (tmp_path / "runs/.sweeps").glob("mine-*/trials.json")
    trials = json.loads(state.read_text())
    scores = {record.path.name: record.run.scores["mIoU"] for record in find_records(tmp_path / "runs")}
    assert [trial["value"] for trial in trials] == [scores[trial["runs"][0]] for trial in trials] and len(scores) == 2
    page = state.with_name("index.html").read_text()
    assert page.count("<polyline") == 2 and "model.selection" in page and not (tmp_path / "elsewhere").exists()
    written = {record.path: (record.path / "run.json").stat().st_mtime_ns for record in find_records(tmp_path / "runs")}
    interrupted = [trials[0], trials[1] | {"state": "running", "value": None, "history": []}]
    state.write_text(json.dumps(interrupted))
    again = warm(*asked)
    assert again.returncode == 0 and json.loads(state.read_text()) == trials
    assert written == {path: (path / "run.json").stat().st_mtime_ns for path in written}, "found, not made again"
    shown = warm(*asked, "--dry-run", "--out", "page.html")
    assert shown.returncode == 0 and (tmp_path / "page.html").is_file()
    other = warm(*asked, "--count", "1", "--data.episodes=5")
    assert other.returncode == 0 and len(list((tmp_path / "runs/.sweeps").iterdir())) == 2, "a sweep of its own"


def test_hyperband_ends_a_training_and_what_it_has_seen_is_kept(warm, bench_arguments, tmp_path):
    sweep_file(
        tmp_path,
        [*bench_arguments("hsnet", "elsewhere"), "--data.validation=base"],
        parameters={"trainer.max_epochs": {"values": [3, 40]}, "fold": {"value": 0}},
        metric={"name": "val/mIoU", "goal": "maximize"},
        early_terminate={"type": "hyperband", "min_iter": 2},
    )
    asked = ["sweep", "mine.yaml", "--local", "--quiet"]
    first = warm(*asked, "--count", "1")
    assert first.returncode == 0, first.stderr
    (state,) = (tmp_path / "runs/.sweeps").glob("mine-*/trials.json")
    (trial,) = json.loads(state.read_text())
    assert len(trial["history"]) == 3 and trial["value"] == max(trial["history"])
    (record,) = find_records(tmp_path / "runs")
    assert record.run.made.validation_mIoU == pytest.approx(trial["value"], rel=1e-5)
    state.write_text(json.dumps([trial | {"history": [101.0, 101.0, 101.0], "value": 101.0}]))  # none will be as good
    done = warm(*asked)
    assert done.returncode == 0, done.stderr
    _, stopped = json.loads(state.read_text())
    assert stopped["state"] == "stopped" and 2 <= len(stopped["history"]) < 40
    assert stopped["value"] == max(stopped["history"]) and "by Hyperband" in stopped["reason"]
    folder = tmp_path / "runs" / stopped["runs"][0]
    assert (folder / "checkpoints/last.ckpt").is_file() and not (folder / "run.json").exists()
    assert "stopped" in done.stdout


def test_what_cannot_be_run_is_said_before_anything_is(bench_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sweep_file(tmp_path, bench_arguments("prototype", "runs"), parameters={"model.nothing": {"values": [1]}})
    assert main(["sweep", "mine.yaml"]) == 2
    assert "--local alone" in capsys.readouterr().err
    assert main(["sweep", "nothing", "--local"]) == 2
    assert "no sweep 'nothing'; there are: cst" in capsys.readouterr().err
    assert main(["sweep", "mine.yaml", "--local"]) == 2
    error = capsys.readouterr().err
    assert "nothing" in error and error.startswith("fsbench: error: ") and not find_records(tmp_path)
