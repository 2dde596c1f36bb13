"""`fsbench reproduce`: what it says of a paper, and its runs with real processes."""

import json
import re

import pytest
import yaml

from fsbench.cli.main import main
from fsbench.records.record import find_records
from fsbench.runner.config.registry import names
from fsbench.runner.papers.files import paper_rows, papers, read_paper
from tests.cli.commands import FEW, images_of


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
    lines = out.splitlines()[2:]
    assert status == 0 and [line.split()[0] for line in lines] == list(names("papers"))
    for name, paper in papers().items():
        (line,) = (line for line in lines if line.split()[0] == name)
        assert str(len(paper_rows(name, paper))) in line.split() and line.endswith(f" {list(paper.tables)[-1]}")


def test_a_papers_plan_says_what_is_missing_and_which_command_brings_it(capsys, nothing):
    status, out = said(capsys, "emat")
    title = "EMAT (2025): 0 of 48 runs done, 48 lacking files; how long they take is not known yet"
    assert status == 0 and out.splitlines()[0] == title and widest_line(out) <= 100
    (line,) = (line for line in out.splitlines() if line.startswith("1 "))
    assert line.split()[-6:] == ["12", "48", "0", "0", "48", "?"]
    assert "* missing: data pascal not in data/pascal: fsbench data prepare pascal --root data/pascal" in out
    assert "* missing: weights dinov2_vits14" in out and ": fsbench weights fetch dinov2_vits14" in out


def widest_line(printed: str) -> int:
    """The width of a plan's table, without its title, which wraps in a terminal, and the notes below it."""
    return max(len(line) for line in printed.splitlines()[1:] if not line.startswith("* "))


@pytest.mark.slow(20)
def test_every_paper_has_a_plan_that_no_missing_file_keeps_from_being_read(capsys, nothing):
    for name in names("papers"):
        assert widest_line(said(capsys, name)[1]) <= 100
        status, out = said(capsys, name, "--format", "json")
        plan = json.loads(out)
        assert status == 0 and {run["state"] for run in plan["runs"]} <= {"lacks files", "waits"}
        assert len(plan["rows"]) == len(paper_rows(name, read_paper(name)))
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


@pytest.mark.slow(1)
def test_a_long_name_is_short_in_a_narrow_table(capsys, nothing):
    status, out = said(capsys, "dcama", "--table", "A")
    assert status == 0 and widest_line(out) <= 100 and "\n…learning_rate=5e-4 " in out
    assert (
        "dcama (batch_size=24, learning_rate=5e-4, weight_decay=5e-5)"
        in said(capsys, "dcama", "--table", "A", "--format", "markdown")[1]
    )


def test_a_run_of_which_everything_lacks_files_says_that_nothing_was_run(capsys, nothing):
    assert main(["reproduce", "cst", "--run"]) == 0
    out, err = capsys.readouterr()
    assert err == "nothing was run: 16 runs need the files that are listed as missing\n"
    assert "0 of 16 runs done" in out and "0 of 1 " not in out
    assert "* missing: weights dino_vits8_300ep not in weights/dino_deitsmall8_300ep_pretrain.pth: " in out


@pytest.mark.slow(1)
def test_released_checkpoints_are_asked_for_by_their_places(capsys, nothing):
    status, out = said(capsys, "emat", "--released")
    assert (
        status == 0
        and len(re.findall(r"missing: checkpoint fold-\d not in \S+/emat-coco/fold-\d/best.ckpt: fsbench weights", out))
        == 4
    )
    assert "missing: weights" not in out  # the authors' checkpoints bring the backbone along


@pytest.fixture
def small_paper(tmp_path, small_demo):
    """A paper of two rows on the small data set, two tests of one training."""
    row = {
        "method": "emat", "reported": {"method": "EMAT", "backbone": "none"}, "datasets": ["demo"], "folds": [0],
        "shots": [1, 2],
        "options": [images_of(small_demo)[0], "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", *FEW],
    }  # fmt: skip
    paper = {"title": "Small", "tables": {"1": {"caption": "c", "source": "none", "rows": [row]}}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(paper))
    return ["reproduce", str(tmp_path / "small.yaml"), "--data-root", f"demo={small_demo}", "--table", "1"]


@pytest.mark.slow
def test_run_makes_each_training_once_tests_its_checkpoint_and_repeats_nothing(warm, small_paper, tmp_path):
    done = warm(*small_paper, "--run")
    assert done.returncode == 0 and "2 of 2 runs done" in done.stdout and done.stderr.count(": done") == 2, done.stderr
    records = {record.header.shot: record for record in find_records(tmp_path / "runs")}
    assert "checkpoint_sha256" not in records[1].run.identity.training
    assert records[2].run.identity.training["checkpoint_sha256"] == records[1].run.checkpoint_sha256
    times = {shot: (record.path / "run.json").stat().st_mtime_ns for shot, record in records.items()}
    again = warm(*small_paper, "--run")
    assert again.returncode == 0 and again.stderr.count(": done") == 0 and "2 of 2 runs done" in again.stdout
    after = {record.header.shot: record for record in find_records(tmp_path / "runs")}
    assert {shot: (record.path / "run.json").stat().st_mtime_ns for shot, record in after.items()} == times


class Fails:
    """An executor whose jobs all end with status 3."""

    at_once = 2

    def __init__(self):
        self.jobs = []

    def start(self, jobs):
        self.jobs += jobs
        return [self] * len(jobs)

    def poll(self):
        return 3

    def ending(self):
        return "failed (status 3)"


@pytest.mark.slow(2)
def test_a_failed_training_is_tried_once_and_its_tests_wait(small_paper, tmp_path, monkeypatch, capsys):
    executor = Fails()
    monkeypatch.setattr("fsbench.cli.reproduce.choose_executor", lambda options: executor)
    assert main([*small_paper, "--runs", str(tmp_path / "runs"), "--run"]) == 1
    out, err = capsys.readouterr()
    assert len(executor.jobs) == 1 and "failed (status 3)" in err
    assert "0 of 2 runs done, 1 waiting, 1 waiting for a training" in out
