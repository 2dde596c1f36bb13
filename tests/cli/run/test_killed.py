"""SIGKILL at any moment: the next start finishes the rest and gives the same record; nothing partial looks complete."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from fsbench.records.record import find_records
from tests.cli.commands import images_of, run_command
from tests.cli.pausing import pause_after
from tests.cli.processes import GOES_ON, SERVER, children, in_journal, runs_on, same, the_record, wait_for

ALONE = "--data.loading.eval_batch_size=1"
"""So that a pause after some episodes is one after as many lines of the journal."""


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the ids of the processes of a run, rank 0 first, which is the one that was started."""
    words = words_of(process.pid)
    others = children(process.pid, "-m fsbench")
    # a child that has yet to become another program still has our words, and one that has ended has none
    return [process.pid, *(other for other in others if words_of(other) not in (words, b""))]


def words_of(process: int) -> bytes:
    """Return the command line of a process; none of one that has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@pytest.mark.slow(60)
def test_a_process_of_two_of_one_command_is_killed(spawn, finish, small_demo, tmp_path):
    """The first amid its start, then the second amid the evaluation; tests/cli/run/test_every_moment.py reaches every
    event of a run and kills both."""
    few = ["--data.loading.workers=0", "--data.training.validation_episodes=3", "--data.test.episodes=120"]

    def command(runs: Path, *more: str) -> list[str]:
        return run_command("prototype", runs, small_demo, *few, *more, devices=2)

    finish(command(tmp_path / "whole"), 2)
    runs = tmp_path / "runs"

    def kill(rank: int, episodes: int) -> None:
        process = spawn(*command(runs, ALONE, *pause_after(25)))
        wait_for(lambda: len(ranks_of(process)) > 1 and in_journal(runs) >= episodes, process)
        os.kill(ranks_of(process)[rank], signal.SIGKILL)
        _, err = process.communicate(timeout=240)  # until no process holds the other end: all have ended
        assert GOES_ON in err and "Traceback" not in err, err
        assert not runs.is_dir() or not find_records(runs)

    kill(0, 0)
    kill(1, 25)
    finish(command(runs), 2)
    same(the_record(runs), the_record(tmp_path / "whole"))
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
    """The command alone is killed: its run says so and ends, and its lock with it."""
    runs = tmp_path / "runs"
    arguments = bench_arguments("prototype", runs, ALONE)
    first = spawn(*arguments, *pause_after(5))
    wait_for(lambda: in_journal(runs) >= 5, first)
    second = spawn(*arguments)
    assert any("another process is running it in " in line for line in iter(second.stderr.readline, ""))
    first.kill()
    assert f"this run stopped because the process that started it ended; {GOES_ON}" in first.communicate(timeout=240)[1]
    out, err = second.communicate(timeout=240)
    assert second.returncode == 0 and "prototype" in out and "Traceback" not in err, err
    assert "evaluation: 4 of 9 episodes are left" in (the_record(runs).path / "run.log").read_text()


@pytest.mark.slow(20)
def test_two_commands_at_once_make_a_run_once(spawn, bench_arguments, tmp_path):
    racing = [spawn(*bench_arguments("prototype", tmp_path / "runs")) for _ in range(2)]
    ended = [(process.communicate(timeout=400), process.returncode) for process in racing]
    assert [status for _, status in ended] == [0, 0], ended
    (first, _), (second, _) = (printed for printed, _ in ended)
    assert first == second and "prototype" in first
    assert (the_record(tmp_path / "runs").path / "run.log").read_text().count("9 of 9 episodes are left") == 1


@pytest.mark.slow(30)
def test_cells_of_a_grid_end_with_it(spawn, warm, small_demo, tmp_path):
    """SIGKILL and SIGTERM of `fsbench grid --run` alone: its cell ends each time, and the next start goes on."""
    runs = tmp_path / "runs"
    extra = ["--data.test.episodes=30", "--data.loading.workers=0", ALONE, images_of(small_demo)[0]]
    grid = {"methods": ["prototype"], "datasets": ["demo"], "folds": [0], "data_roots": {"demo": str(small_demo)}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid | {"extra": [*extra, *pause_after(5)]}))
    command = ["grid", "grid.yaml", "--runs", "runs", "--run"]

    def end(episodes: int, number: signal.Signals) -> str:
        """Send a signal to the command when so many episodes are there; return the log of its cell."""
        process = spawn(*command)
        wait_for(lambda: in_journal(runs) >= episodes, process)
        (server,) = children(process.pid, SERVER)
        (cell,) = children(server, SERVER)
        process.send_signal(number)
        process.communicate(timeout=240)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
        wait_for(lambda: not runs_on(cell))
        assert in_journal(runs) == episodes and not find_records(runs)
        (log,) = (runs / ".grid/logs").iterdir()
        return log.read_text()

    assert f"this run stopped because the process that started it ended; {GOES_ON}" in end(5, signal.SIGKILL)
    end(10, signal.SIGTERM)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid | {"extra": extra}))
    done = warm(*command)
    assert done.returncode == 0, done.stderr
    assert "evaluation: 20 of 30 episodes are left" in (the_record(runs).path / "run.log").read_text()
