"""Schedules of grids: failures, interrupts and progress of the cells that run."""

import subprocess
import sys

import pytest

from fsbench.records.run_directory import is_held
from fsbench.runner.grid.plan import PlannedRun
from fsbench.runner.grid.run import last_lines, progress_text, run_missing
from fsbench.runner.grid.words import run_label
from tests.fsbench.records.test_record import finished
from tests.fsbench.runner.grid.cells import cell_of


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("fsbench.runner.grid.run.POLL_SECONDS", 0)


class Pretended:
    """An executor whose jobs end with given statuses; counts how many ran at once."""

    def __init__(self, at_once, statuses):
        self.at_once, self.statuses, self.running, self.most = at_once, list(statuses), 0, 0

    def start(self, jobs):
        self.running += len(jobs)
        self.most = max(self.most, self.running)
        return [PretendedJob(self, self.statuses.pop(0), job) for job in jobs]


class PretendedJob:
    def __init__(self, executor, status, job):
        self.executor, self.status, self.job, self.polls, self.stopped = executor, status, job, 0, False

    def poll(self):
        self.polls += 1
        if self.polls < 2:
            return None
        if self.status == "interrupt":
            raise KeyboardInterrupt
        self.executor.running -= 1
        self.job.log.write_text(f"first\r second\r third\n\nended with {self.status}\n")
        return self.status

    def ending(self):
        return f"failed ({self.status})"

    def stop(self):
        self.stopped = True


def test_failures_stop_no_other_cell(tmp_path, monkeypatch):
    monkeypatch.setattr("fsbench.runner.grid.run.finished_record", lambda folder: folder.name)
    cells = [PlannedRun(cell_of("prototype", "demo", fold, 1, 1, None, 0), tmp_path / str(fold)) for fold in range(5)]
    executor = Pretended(2, [0, 3, 0, 0, 2])
    failures = run_missing(cells, tmp_path, executor)
    assert {(run_label(failure.item.config), failure.ending) for failure in failures} == {
        ("prototype demo fold 1 1-way 1-shot seed 0", "failed (3)"),
        ("prototype demo fold 4 1-way 1-shot seed 0", "failed (2)"),
    }
    assert executor.most == 2 and not executor.statuses
    assert last_lines(failures[0].log) == [" third", "ended with 3"]


def test_cells_that_differ_in_anything_have_logs_of_their_own(tmp_path, monkeypatch):
    alike = ("prototype", "demo", 0, 1, 1, None, 0)
    more = ({}, {"protocol": "hsnet"}, {"checkpoint": "c"}, {"fast": True}, {"extra": ("--model.a=1",)}, {"devices": 2})
    cells = [PlannedRun(cell_of(*alike, **one), None) for one in more]
    monkeypatch.setattr("fsbench.runner.grid.run.run_folder", lambda *_, **__: tmp_path / "none")
    failures = run_missing(cells, tmp_path, Pretended(6, range(6)))
    assert [last_lines(failure.log)[-1] for failure in failures] == [f"ended with {status}" for status in range(6)]


def test_a_folder_that_is_no_longer_the_cells_is_looked_up_again(tmp_path, monkeypatch):
    """The run went well and its record is where its identity says now; the note is of the time before."""
    asked = []

    def now(run):
        asked.append(run)
        return tmp_path / f"now-{run.fold}"

    monkeypatch.setattr("fsbench.runner.grid.run.run_folder", now)
    finished(tmp_path / "now-0")
    (tmp_path / "now-2").mkdir()
    (tmp_path / "now-2/run.json").write_text("{")
    cells = [PlannedRun(cell_of("prototype", "demo", fold, 1, 1, None, 0), tmp_path / "before") for fold in range(3)]
    failures = run_missing(cells, tmp_path, Pretended(1, [0, 0, 0]))
    assert asked == [item.config for item in cells]
    assert [failure.item for failure in failures] == cells[1:]


def test_a_status_of_0_without_a_record_is_a_failure(tmp_path, blocks_folder):
    small = ("--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}")
    cells = [PlannedRun(cell_of("prototype", "demo", 0, 1, 1, None, 0, extra=small), tmp_path / "none")]
    assert len(run_missing(cells, tmp_path, Pretended(1, [0]))) == 1


def test_an_interrupt_stops_what_runs(tmp_path, capsys):
    cells = [PlannedRun(cell_of("prototype", "demo", fold, 1, 1, None, 0), tmp_path / str(fold)) for fold in range(3)]
    executor = Pretended(2, ["interrupt", 0, 0])
    started = []
    real = executor.start
    executor.start = lambda jobs: started.extend(real(jobs)) or started[-len(jobs) :]
    with pytest.raises(KeyboardInterrupt):
        run_missing(cells, tmp_path, executor)
    assert len(started) == 2 and all(job.stopped for job in started)
    assert "0 done, 2 stopped (prototype demo fold 0 1-way 1-shot seed 0: starting; " in capsys.readouterr().err


def test_a_run_that_another_process_makes_is_left_to_it(tmp_path, monkeypatch, capsys):
    """It is no failure, and the log that the other process may write to stays."""
    monkeypatch.setattr("fsbench.runner.grid.run.finished_record", lambda folder: folder.name)
    items = [PlannedRun(cell_of("prototype", "demo", fold, 1, 1, None, 0), tmp_path / str(fold)) for fold in range(2)]
    (tmp_path / "1").mkdir()
    code = (
        "import sys; from pathlib import Path; from fsbench.records.run_directory import open_run\n"
        "with open_run(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "1")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        executor = Pretended(1, [0])
        assert run_missing(items, tmp_path, executor) == []
        assert items[1].state == "running elsewhere" and not executor.statuses
        assert "fold 1 1-way 1-shot seed 0: running elsewhere" in capsys.readouterr().err
        other.communicate("")
    assert not is_held(tmp_path / "1")


def test_what_a_run_is_at(tmp_path):
    log = tmp_path / "nowhere.log"
    assert progress_text(None, log) == progress_text(tmp_path / "nowhere", log) == "starting"
    assert progress_text(tmp_path, log) == "starting"
    (tmp_path / "curves/version_0").mkdir(parents=True)
    (tmp_path / "curves/version_0/metrics.csv").write_text("loss,epoch,step\n0.5,0,10\n0.4,1,20\n")
    assert progress_text(tmp_path, log) == "training: epoch 2"
    (tmp_path / "evaluation").mkdir()
    for name, lines in (("part-1-a", 4), ("part-2-b", 3)):
        (tmp_path / f"evaluation/{name}.jsonl").write_text("{}\n" * lines)
    assert progress_text(tmp_path, log) == "evaluation: 5 episodes done"
    assert last_lines(log) == []
