"""SIGKILL at any moment: the next start finishes the rest and gives the same record; nothing partial looks complete."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fsbench.records.record import Record, find_records
from tests.cli.commands import environments_of_ranks, run_command
from tests.cli.conftest import environment_of_test
from tests.cli.pausing import pause_after
from tests.cli.run.test_flows import the_record

SERVER = "from multiprocessing.forkserver import main"
"""In the command line of the server whose forks runs are, and in theirs."""

GOES_ON = "the same command goes on from here"


@dataclass
class Started:
    """A started command and the folder of its runs."""

    process: subprocess.Popen[str]
    runs: Path
    before: int
    """Episodes that were in the journal."""
    began: float

    @property
    def evaluated(self) -> int:
        """Episodes that it has added to the journal."""
        return in_journal(self.runs) - self.before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def ranks(self) -> list[int]:
        """Ids of the processes of the run, rank 0 first, which is the one that was started."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
        found = [line.split(None, 2) for line in listed.stdout.splitlines()]
        own = self.process.pid
        words_of = {int(pid): words for pid, _, words in found}
        # a child that has yet to become another program still has our words
        started = [int(pid) for pid, parent, words in found if int(parent) == own and words != words_of.get(own)]
        return [own, *(pid for pid in started if "-m fsbench" in words_of[pid])]

    def cells(self) -> list[int]:
        """Ids of the processes that run the cells of a grid: forks of the server that it started."""
        (server,) = children(self.process.pid, SERVER)
        return children(server, SERVER)


def children(parent: int, words: str) -> list[int]:
    """Return the ids of the children of a process whose command line has `words`."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(line[0]) for line in lines if words in line[-1]]


def in_journal(runs: Path) -> int:
    """Episodes in the journal of the run in the folder `runs`."""
    parts = runs.glob("*/evaluation/part-*.jsonl")
    return sum(max(part.read_bytes().count(b"\n") - 1, 0) for part in parts)


def runs_on(process: int) -> bool:
    """Whether a process is there and no zombie, which somebody has yet to fetch the status of."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return not shown.stdout.startswith("Z") if shown.stdout.strip() else False


def kill_started(started: Started) -> bool:
    """Kill the process that a user started, alone; return whether another one is left to say so."""
    is_another_left = len(started.ranks()) > 1
    started.process.kill()
    return is_another_left


def kill_rank_1(started: Started) -> bool:
    """Kill the second process, unless it has ended; return whether it had not."""
    ranks = started.ranks()[1:]
    for rank in ranks:
        with suppress(ProcessLookupError):
            os.kill(rank, signal.SIGKILL)
    return bool(ranks)


When = Callable[[Started], bool]
Kill = Callable[[Started], bool]


def evaluated(episodes: int) -> When:
    return lambda started: started.evaluated >= episodes


def same(record: Record, whole: Record) -> None:
    assert record.path.name == whole.path.name
    for key in ("identity", "scores", "presence", "counts_sha256"):
        assert getattr(record.run, key) == getattr(whole.run, key)
    assert record.run.made.validation_mIoU == whole.run.made.validation_mIoU
    assert record.episodes.equals(whole.episodes)  # scores and region measures, too
    for name in ("manifest.jsonl", "predictions.png", "config.yaml", "identity.json"):
        ours, theirs = ((r.path / name).read_text(errors="replace") for r in (record, whole))
        assert ours.replace(str(record.path.parent), "") == theirs.replace(str(whole.path.parent), ""), name


def not_yet_together(started: Started) -> bool:
    return len(started.ranks()) > 1


@pytest.mark.slow(60)
def test_a_process_of_two_of_one_command_is_killed(spawn, warm_process, small_demo, tmp_path):
    """By the clock of a real start; tests/cli/run/test_every_moment.py reaches every event of a run and kills both.

    Only the runs that are killed are started from nothing; the whole one and the last are in forks.
    """
    few = ["--data.loading.workers=0", "--data.training.validation_episodes=3", "--data.test.episodes=120"]

    def command(runs: Path) -> list[str]:
        return run_command("prototype", runs, small_demo, *few, devices=2)

    def finish(runs: Path) -> None:
        environments = [environment_of_test(tmp_path) | rank for rank in environments_of_ranks(2)]
        ended = warm_process.call_ranks(command(runs), tmp_path, environments)
        assert [done.returncode for done in ended] == [0, 0], ended[0].stderr

    finish(tmp_path / "whole")
    whole = the_record(tmp_path / "whole")
    points: list[tuple[When, Kill]] = [(not_yet_together, kill_started), (evaluated(25), kill_rank_1)]
    number = 0
    for when, kill in points:
        runs = tmp_path / f"killed-{number}"
        started = Started(spawn(*command(runs)), runs, in_journal(runs), time.monotonic())
        while not when(started) and started.process.poll() is None:
            assert started.seconds < 240, f"{started.evaluated} episodes"
            time.sleep(0.01)
        is_to_be_said = started.process.poll() is None and kill(started)
        _, err = started.process.communicate(timeout=240)  # until no process holds the other end: all have ended
        assert "Traceback" not in err, err
        found = find_records(runs) if runs.is_dir() else []
        if is_to_be_said and not found:
            assert GOES_ON in err, err
        for record in found:  # it was complete when it was killed
            same(record, whole)
        number += bool(found)
    runs = tmp_path / f"killed-{number}"
    finish(runs)
    same(the_record(runs), whole)
    (folder,) = runs.iterdir()  # and no lock
    assert not (folder / "evaluation").exists() and not list(folder.rglob("*.new"))


@pytest.mark.slow
def test_two_starts_of_the_same_run_race(spawn, warm, run_arguments, tmp_path):
    """Both at once, and once more: one works, the other finds its record or says that the first is at work."""
    arguments = run_arguments("prototype", tmp_path / "runs", "--data.test.episodes=60")
    racing = [spawn(*arguments) for _ in range(2)]
    ended = [(process.communicate(timeout=400)[1], process.returncode) for process in racing]
    for err, status in ended:
        assert status == 0 or (status == 2 and "another process is working on" in err), err
        assert "Traceback" not in err
    assert 0 in [status for _, status in ended]
    assert warm(*arguments).returncode == 0
    record = the_record(tmp_path / "runs")
    log = (record.path / "run.log").read_text()
    assert log.count("evaluation: 60 of 60 episodes are left") == 1 and "evaluation: 0" not in log
    assert len(record.episodes) == 120 and [path.name for path in (tmp_path / "runs").iterdir()] == [record.path.name]


@pytest.mark.slow(20)
def test_a_command_waits_for_a_run_of_another_and_goes_on_where_that_is_killed(spawn, bench_arguments, tmp_path):
    arguments = bench_arguments("prototype", tmp_path / "runs", "--data.loading.eval_batch_size=1")
    first = Started(spawn(*arguments, *pause_after(5)), tmp_path / "runs", 0, time.monotonic())
    while not evaluated(5)(first):
        assert first.process.poll() is None and first.seconds < 240, f"{first.evaluated} episodes"
        time.sleep(0.01)
    second = spawn(*arguments)
    assert any("another process makes it in " in line for line in iter(second.stderr.readline, ""))
    kill_started(first)
    out, err = second.communicate(timeout=240)
    assert second.returncode == 0 and "prototype" in out and "Traceback" not in err, err
    assert "evaluation: 4 of 9 episodes are left" in (the_record(tmp_path / "runs").path / "run.log").read_text()


@pytest.mark.slow(20)
def test_two_commands_at_once_make_a_run_once(spawn, bench_arguments, tmp_path):
    racing = [spawn(*bench_arguments("prototype", tmp_path / "runs")) for _ in range(2)]
    ended = [(process.communicate(timeout=400), process.returncode) for process in racing]
    assert [status for _, status in ended] == [0, 0], ended
    (first, _), (second, _) = (printed for printed, _ in ended)
    assert first == second and "prototype" in first
    assert (the_record(tmp_path / "runs").path / "run.log").read_text().count("9 of 9 episodes are left") == 1


@pytest.mark.slow
def test_a_run_ends_with_the_command_that_started_it(spawn, bench_arguments, tmp_path):
    """SIGKILL of `fsbench bench` alone: the run says so and ends, and its lock with it."""
    arguments = bench_arguments("prototype", tmp_path / "runs", "--data.loading.eval_batch_size=1", *pause_after(5))
    started = Started(spawn(*arguments), tmp_path / "runs", 0, time.monotonic())
    while not evaluated(5)(started):
        assert started.process.poll() is None and started.seconds < 240, f"{started.evaluated} episodes"
        time.sleep(0.01)
    kill_started(started)
    _, err = started.process.communicate(timeout=240)
    assert f"the process that started this one ended; {GOES_ON}" in err and started.evaluated == 5
    assert not find_records(tmp_path / "runs")


@pytest.mark.slow(30)
def test_cells_of_a_grid_end_with_it(spawn, warm, small_demo, tmp_path):
    """SIGKILL and SIGTERM of `fsbench grid --run` alone: its cell ends each time, and the next start goes on."""
    episodes, lines = 30, 0
    extra = [f"--data.test.episodes={episodes}", "--data.loading.workers=0", "--data.loading.eval_batch_size=1"]
    extra += ["--data.dataset=fsbench.datamodules.datasets.folder.Folder"]
    grid = {"methods": ["prototype"], "datasets": ["demo"], "folds": [0], "data_roots": {"demo": str(small_demo)}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid | {"extra": [*extra, *pause_after(5)]}))
    command = ["grid", "grid.yaml", "--runs", "runs", "--run"]
    for number, said in ((signal.SIGKILL, f"the process that started this one ended; {GOES_ON}"), (signal.SIGTERM, "")):
        started = Started(spawn(*command), tmp_path / "runs", lines, time.monotonic())
        while not evaluated(5)(started):
            assert started.process.poll() is None and started.seconds < 240, f"{started.evaluated} episodes"
            time.sleep(0.01)
        (cell,) = started.cells()
        started.process.send_signal(number)
        started.process.communicate(timeout=240)
        assert started.process.returncode == (-number if number == signal.SIGKILL else 128 + number)
        end = time.monotonic() + 240
        while runs_on(cell):
            assert time.monotonic() < end, f"the cell {cell} has not ended"
            time.sleep(0.1)
        (log,) = (tmp_path / "runs/.grid/logs").iterdir()
        assert said in log.read_text()
        lines = in_journal(tmp_path / "runs")
        assert lines < episodes and not find_records(tmp_path / "runs")
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid | {"extra": extra}))
    done = warm(*command)
    assert done.returncode == 0, done.stderr
    record = the_record(tmp_path / "runs")
    assert f"evaluation: {episodes - lines} of {episodes} episodes are left" in (record.path / "run.log").read_text()
