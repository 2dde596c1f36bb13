"""`fsbench reproduce`: what it says of a paper, and its runs with real processes."""

import json
import re

import pytest
import yaml

from fsbench.cli.main import main
from fsbench.config.registry import names
from fsbench.papers.files import papers, read_paper, rows_of
from fsbench.records.record import find_records
from tests.cli.conftest import FEW

SUMMARIES = {
    "emat": ("EMAT (2025): 48 runs: 48 lack files; left to do: ?", "1", "12", "48"),
    "cst": ("CST (CVPR 2023): 16 runs: 16 lack files; left to do: ?", "main", "4", "16"),
}


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """A working folder without data and weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path


def said(capsys, *arguments):
    status = main(["reproduce", *arguments])
    out, err = capsys.readouterr()
    assert err == "" or status, err
    return status, out


def test_papers_are_listed_with_their_tables(capsys):
    status, out = said(capsys)
    lines = [line.split() for line in out.splitlines()[2:]]
    assert status == 0 and [line[0] for line in lines] == list(names("papers"))
    for name, paper in papers().items():
        (line,) = (line for line in lines if line[0] == name)
        assert str(len(rows_of(name, paper))) in line and line[-1] == list(paper.tables)[-1]


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_papers_plan_says_what_is_missing_and_which_command_brings_it(capsys, nothing, name):
    status, out = said(capsys, name)
    title, table, rows, runs = SUMMARIES[name]
    assert status == 0 and out.splitlines()[0] == title
    (line,) = (line for line in out.splitlines() if line.startswith(f"{table} "))
    assert line.split()[-6:] == [rows, runs, "0", "0", runs, "?"]
    assert "* missing: data pascal not in data/pascal: fsbench data prepare pascal --root data/pascal" in out
    backbone = {"emat": "dinov2_vits14", "cst": "dino_vits8_300ep"}[name]
    assert f"* missing: weights {backbone}" in out and f": fsbench weights fetch {backbone}" in out


def test_every_paper_has_a_plan_that_no_missing_file_keeps_from_being_read(capsys, nothing):
    for name in names("papers"):
        status, out = said(capsys, name, "--format", "json")
        plan = json.loads(out)
        assert status == 0 and {run["state"] for run in plan["runs"]} <= {"lacks files", "waits"}
        assert len(plan["rows"]) == len(rows_of(name, read_paper(name)))
        for run in plan["runs"]:
            commands = [thing.rpartition(": ")[2] for thing in run["missing"]]
            assert all(command.startswith(("fsbench data prepare ", "fsbench weights fetch ")) for command in commands)
            assert commands or run["state"] == "waits"


def test_a_table_has_a_line_for_each_row_with_why_it_cannot_be_equal(capsys, nothing):
    status, out = said(capsys, "hmnet", "--table", "6")
    lines = [line for line in out.splitlines() if line.startswith("hmnet")]
    assert status == 0 and len(lines) == 6 and "seeds of the test" in out
    assert lines[0].split()[:5] == ["hmnet", "(test_seed=0)", "coco", "1-way", "1-shot"]
    (mean,) = (line for line in out.splitlines() if "a mean over the rows above, not a run" in line)
    assert mean.split()[1] in lines[-1]
    wide = max(map(len, out.splitlines()[:12]))
    assert wide <= 120


def test_released_checkpoints_are_asked_for_by_their_places(capsys, nothing):
    status, out = said(capsys, "emat", "--released")
    assert (
        status == 0
        and len(re.findall(r"missing: checkpoint fold-\d not in \S+/emat-coco/fold-\d/best.ckpt: fsbench weights", out))
        == 4
    )
    assert "missing: weights" not in out  # the authors' checkpoints bring the backbone along


def test_mistakes_are_one_line(capsys, tmp_path):
    (tmp_path / "wrong.yaml").write_text("title: x\ntables: []\n")
    for arguments, message in (
        (["emt"], "unknown paper 'emt'; there are: cst, dcama, emat"),
        (["emat", "--table", "7"], "emat has no table '7'; there are: 1"),
        (["--table", "1"], "--table and --run are of one paper; name it"),
        (["emat", "--smoke"], "--smoke is of all papers"),
        (["emat", "--data-root", "pascal"], "--data-root is 'pascal', expected DATASET=DIR"),
        ([str(tmp_path / "wrong.yaml")], "wrong.yaml: tables is [], expected a mapping"),
    ):
        assert main(["reproduce", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error


@pytest.fixture
def small_paper(tmp_path, small_demo):
    """The file of a paper of three rows on the small data set: two tests of one training, and one of no training."""
    folder = ["--data.dataset=datamodules.datasets.folder.Folder"]
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    name = {"method": "EMAT", "backbone": "none"}
    trained = {"method": "emat", "reported": name, "datasets": ["demo"], "folds": [0], "shots": [1, 2]}
    rows = [
        trained | {"options": [*folder, *short, *FEW]},
        {"method": "prototype", "reported": name, "datasets": ["demo"], "folds": [0], "checkpoint": "none",
         "protocol": "fscs", "options": [*folder, *FEW]},
    ]  # fmt: skip
    paper = {"title": "Small", "tables": {"1": {"caption": "c", "source": "none", "rows": rows}}}
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(paper))
    return [str(file), "--data-root", f"demo={small_demo}"]


@pytest.mark.slow
def test_run_makes_each_training_once_tests_its_checkpoint_and_repeats_nothing(fsbench, small_paper, tmp_path):
    before = fsbench("reproduce", *small_paper, "--table", "1")
    assert before.returncode == 0 and "3 runs: 2 can be run, 1 wait for a training" in before.stdout, before.stderr
    done = fsbench("reproduce", *small_paper, "--table", "1", "--run")
    assert done.returncode == 0 and "3 runs: 3 done" in done.stdout and done.stderr.count(": done") == 3, done.stderr
    records = find_records(tmp_path / "runs")
    trained = {
        record.header["shot"]: record for record in records if record.run["identity"]["method"]["name"] == "emat"
    }
    assert "checkpoint_sha256" not in trained[1].run["identity"]["training"]
    assert trained[2].run["identity"]["training"]["checkpoint_sha256"] == trained[1].run["checkpoint_sha256"]
    times = [(record.path / "run.json").stat().st_mtime_ns for record in records]
    again = fsbench("reproduce", *small_paper, "--table", "1", "--run")
    assert again.returncode == 0 and again.stderr.count(": done") == 0 and "3 runs: 3 done" in again.stdout
    assert [(record.path / "run.json").stat().st_mtime_ns for record in records] == times
    plan = json.loads(fsbench("reproduce", *small_paper, "--format", "json").stdout)
    assert [run["state"] for run in plan["runs"]] == ["done"] * 3 and plan["results"] == []


@pytest.mark.slow
def test_a_failed_training_is_said_and_its_tests_wait(fsbench, small_paper, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(file.read_text().replace("limit_train_batches=2", "limit_train_batches=0"))
    done = fsbench("reproduce", *small_paper, "--run")
    assert done.returncode == 1 and "training ended without a validation" in done.stderr
    assert "3 runs: 1 done, 1 begun, 1 wait for a training" in done.stdout
