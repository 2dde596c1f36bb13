"""The processes of one command share their imports, and end with it, whenever that is."""

import os
import pickle
import signal
import time
from pathlib import Path

import pytest

from fsbench.base.errors import RunError, SettingsError, SeveralErrors
from fsbench.records.record import find_records
from tests.cli.pausing import pause_after
from tests.cli.processes import SERVER, children, in_journal, interrupt, runs_on, wait_for

PAUSED = ["--data.loading.eval_batch_size=1", *pause_after(8)]


@pytest.mark.slow(20)
@pytest.mark.parametrize("alone", [False, True])
def test_an_interrupt_amid_the_imports_is_one_line(spawn, bench_arguments, tmp_path, alone):
    """`communicate` returns when no process has the standard error any more: the server has ended, too."""
    process = spawn(*bench_arguments("prototype", tmp_path / "runs"))
    wait_for(lambda: children(process.pid, SERVER), process)
    time.sleep(0.5)  # Python itself has started
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT) if alone else os.killpg(process.pid, signal.SIGINT)
    assert process.wait(5) == 130 and time.monotonic() - began < 5
    _, err = process.communicate(timeout=240)
    assert err == "\nfsbench: stopped; run the same command again to continue\n"


@pytest.mark.slow(30)
def test_one_import_serves_all_runs_and_an_interrupt_ends_them(spawn, bench_arguments, tmp_path):
    """Two runs are forks of one server; an interrupt in the first ends all."""
    process = spawn(*bench_arguments("prototype", tmp_path / "runs", "--fold", "0,1", *PAUSED))
    wait_for(lambda: in_journal(tmp_path / "runs") >= 8, process)
    (server,) = children(process.pid, SERVER)
    (run,) = children(server, SERVER)
    assert "libtorch" in Path(f"/proc/{run}/maps").read_text()
    interrupt(process)
    wait_for(lambda: not runs_on(run) and not runs_on(server), seconds=30)  # the server ends when it saw the last end
    assert not find_records(tmp_path / "runs")


@pytest.mark.slow(20)
def test_what_kills_a_run_is_told(spawn, bench_arguments, tmp_path):
    """The signal, and that the same command goes on."""
    process = spawn(*bench_arguments("prototype", tmp_path / "runs", *PAUSED))
    wait_for(lambda: in_journal(tmp_path / "runs") >= 8, process)
    (server,) = children(process.pid, SERVER)
    (run,) = children(server, SERVER)
    os.kill(run, signal.SIGKILL)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "failed (killed by SIGKILL; out of memory?); run the same command again to continue; its log is " in err


def test_errors_pass_to_another_process_whole():
    several = SeveralErrors([SettingsError("one"), RunError("two", "  how")])
    again = pickle.loads(pickle.dumps(several))
    assert [type(error) for error in again.errors] == [SettingsError, RunError] and str(again) == str(several)
