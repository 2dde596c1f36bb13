"""Forked cells are processes of their own: status, output, signals, session and end are those of a started program."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fsbench.engine.machine.fork_server import ForkServer, can_fork
from fsbench.paths import REPOSITORY

ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}

pytestmark = pytest.mark.skipif(not can_fork(), reason="cells are not forked here")


def test_cells_end_as_programs_do(tmp_path):
    command = [sys.executable, "-m", "tests.fsbench.engine.forked_program", str(tmp_path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    *shown, registered = done.stdout.splitlines()
    found = json.loads(shown.pop())
    assert registered == "registered in the command" and not shown  # once, and by no cell
    assert found["statuses"] == [3, 1, 1, -9, 0, 0, 0, 0, 0]
    assert found["first"] == [5, None] and found["interrupted"] == 130
    assert found["stopped"] == [130, None]  # the one that was to stop, and no other
    assert found["after"] == [-9, -9]  # the server was killed
    assert found["folders"] == ["command"]  # a cell removes its own alone
    logs = [(tmp_path / f"{number}").read_text() for number in range(len(found["statuses"]))]
    assert logs[1] == "words\n" and "ValueError: of a cell" in logs[2]
    facts = json.loads(logs[4])
    assert facts == {
        "parent": True, "leads": True, "words": ["fsbench", "facts"], "folder": False, "threads": 1, "stdin": "",
        "method": True,
    }  # fmt: skip
    assert len(logs[5]) == 500_001 + len("to stderr\n") and logs[6:] == ["registered in the cell\n", "joined\n", "1\n"]


def run(program: str, *, limit: float = 400) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", program]
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=limit)


def test_a_process_with_threads_is_not_forked():
    program = """if True:
        import threading
        from fsbench.engine.machine.fork_server import ForkServer, forks_whole
        assert forks_whole()
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        assert not forks_whole() and ForkServer.forked() is None
    """
    done = run(program)
    assert done.returncode == 0, done.stderr


def test_a_server_with_threads_starts_each_cell_from_nothing(tmp_path):
    """As where something of a user's own that every cell imports starts a thread."""
    program = f"""if True:
        import threading
        from pathlib import Path
        from fsbench.engine.machine import fork_server
        fork_server.PRELOADED = ()
        fork_server.forks_whole = lambda answers=[True, False]: answers.pop(0)
        with fork_server.ForkServer.forked() as server:
            assert server.start(["--version"], Path({str(tmp_path / "log")!r})).wait() == 0
    """
    done = run(program)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text().startswith("0.")


def test_the_server_ends_with_its_command():
    program = """if True:
        import os, signal
        from fsbench.engine.machine import fork_server
        fork_server.PRELOADED = ()
        print(fork_server.ForkServer.forked().process, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run(program)
    server = Path("/proc", done.stdout.strip())
    assert done.returncode == -9
    end = time.monotonic() + 240
    while (state := state_of(server)) not in ("", "Z"):
        assert time.monotonic() < end, f"its state is still {state}"
        time.sleep(0.01)


def state_of(process: Path) -> str:
    """Return the letter of a process's state, from its folder in /proc; empty where it has gone."""
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize(
    "variables",
    [{"SLURM_NTASKS": "2"}, {"SLURM_JOB_ID": "1"}, {"WORLD_SIZE": "2"}, {"LOCAL_RANK": "0"}, {"WANDB": "offline"}],
)
def test_where_processes_belong_to_one_run_nothing_is_forked(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not can_fork() and ForkServer.forked() is None and ForkServer.spawned() is None


def test_nothing_is_forked_beside_a_gpu(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda self: self.name == "nvidiactl")
    assert not can_fork()
