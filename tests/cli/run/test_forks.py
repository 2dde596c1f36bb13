"""The processes of one command share their imports, and end with it, whenever that is."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fsbench.base.errors import RunError, SettingsError, SeveralErrors
from fsbench.base.paths import REPOSITORY
from fsbench.records.record import find_records
from fsbench.runner.engine import forks
from tests.cli.pausing import pause_after
from tests.cli.run.test_flows import finished_lines, interrupt, wait_for
from tests.cli.run.test_killed import SERVER, children, runs_on


@pytest.mark.slow(20)
@pytest.mark.parametrize("alone", [False, True])
def test_an_interrupt_amid_the_imports_is_one_line(spawn, bench_arguments, tmp_path, alone):
    """`interrupt` returns when no process has the standard error any more: the server has ended, too."""
    process = spawn(*bench_arguments("prototype", tmp_path / "runs"))
    wait_for(lambda: children(process.pid, SERVER))
    time.sleep(0.5)  # Python itself has started
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT) if alone else os.killpg(process.pid, signal.SIGINT)
    assert process.wait(5) == 130 and time.monotonic() - began < 5
    _, err = process.communicate(timeout=240)
    assert err == "\nfsbench: stopped; the same command goes on from here\n"


@pytest.mark.slow(30)
def test_one_import_serves_all_runs_and_an_interrupt_ends_them(spawn, bench_arguments, tmp_path):
    """Two runs are forks of one server, the command has no torch, and an interrupt in the second leaves the first."""
    arguments = bench_arguments("prototype", tmp_path / "runs", "--fold", "0,1", "--data.loading.eval_batch_size=1")
    process = spawn(*arguments, *pause_after(8))
    wait_for(lambda: finished_lines(tmp_path / "runs") >= 8)
    (server,) = children(process.pid, SERVER)
    (run,) = children(server, SERVER)  # that which looked the folders up has ended
    libraries = "libtorch"
    assert libraries in Path(f"/proc/{run}/maps").read_text()
    assert libraries not in Path(f"/proc/{process.pid}/maps").read_text()
    interrupt(process)
    wait_for(lambda: not runs_on(run) and not runs_on(server), 30)  # the server ends when it has seen the last end
    assert not find_records(tmp_path / "runs")


@pytest.mark.slow(20)
def test_the_only_run_is_made_by_the_process_that_located_it(spawn, bench_arguments, tmp_path):
    process = spawn(
        *bench_arguments("prototype", tmp_path / "runs", "--data.loading.eval_batch_size=1"), *pause_after(8)
    )
    wait_for(lambda: children(process.pid, SERVER))
    (server,) = children(process.pid, SERVER)
    wait_for(lambda: children(server, SERVER))
    (located,) = children(server, SERVER)
    wait_for(lambda: finished_lines(tmp_path / "runs") >= 8)
    assert list(children(server, SERVER)) == [located]
    interrupt(process)
    wait_for(lambda: not runs_on(located) and not runs_on(server), 30)


def exits() -> None:
    sys.exit(7)


def tells_itself(folder: str) -> None:
    Path(folder, "told").write_text(f"{Path.cwd()}\n{os.environ['TOLD']}\n{sys.path[0]}")
    os.write(1, b"to the output\n")


@pytest.fixture
def forked(monkeypatch) -> Callable[..., int]:
    """forked(work, *arguments) -> the exit status of a fork of this process, which is as ready as the server."""
    monkeypatch.setattr(forks, "context", multiprocessing.get_context("fork"))
    monkeypatch.setattr(forks, "start_server", lambda: None)

    def call(work: Callable[..., None], *arguments: object) -> int:
        process = forks._fork(work, *arguments)
        process.join(60)
        assert process.exitcode is not None
        return process.exitcode

    return call


def test_a_fork_has_the_folder_the_variables_and_the_error_output_of_who_starts_it(
    forked, monkeypatch, tmp_path, capfd
):
    monkeypatch.setenv("TOLD", "a variable")
    monkeypatch.chdir(tmp_path)
    assert forked(exits) == 7 and forked(tells_itself, str(tmp_path)) == 0
    assert (tmp_path / "told").read_text().splitlines()[:2] == [str(tmp_path), "a variable"]
    assert capfd.readouterr() == ("", "to the output\n")


def test_errors_pass_to_another_process_whole():
    several = SeveralErrors([SettingsError("one"), RunError("two", "  how")])
    passed = forks._portable(several)
    assert passed is several
    again = pickle.loads(pickle.dumps(several))
    assert [type(error) for error in again.errors] == [SettingsError, RunError] and str(again) == str(several)

    class Local(Exception):
        """Cannot be found by its name elsewhere."""

    assert "Local: mine" in str(forks._portable(Local("mine")))


@pytest.mark.slow
def test_what_ends_the_imports_is_one_line(tmp_path):
    """A torch that cannot be loaded, say, ends the server."""
    (tmp_path / "lightning.py").write_text("import os; os._exit(3)\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, "-m", "fsbench", "bench", "--method", "prototype", "--fast", "--runs", "runs"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "fsbench: error: the process that imports torch for the runs ended" in done.stderr
