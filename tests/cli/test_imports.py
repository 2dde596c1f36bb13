"""No process of a command imports from the folder that it works in."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fsbench.base.paths import REPOSITORY
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.machine.watchdog import Watchdog, child_environment, safe_imports
from fsbench.runner.grid.executors import Job, LocalProcesses, Running, Submitit


@pytest.fixture
def trap(tmp_path, monkeypatch) -> Path:
    """A working folder with a `fsbench` and a `submitit` of somebody else's; the file that they would write."""
    for name in ("fsbench", "submitit", "lightning"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("from pathlib import Path\nPath('trapped').touch()\n")
        (tmp_path / name / "__main__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "trapped"


def test_the_trap_works(trap):
    subprocess.run([sys.executable, "-m", "fsbench"], check=True)
    assert trap.exists()


def test_a_child_imports_the_suite_alone(trap):
    asked = "import fsbench; print(fsbench.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", asked], env=child_environment(), capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(REPOSITORY / "fsbench" / "__init__.py") and not trap.exists()


def test_own_folders_in_pythonpath_stay(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/mine", str(REPOSITORY), ""]))
    assert safe_imports()["PYTHONPATH"].split(os.pathsep)[-1] == "/mine"


def test_ranks_have_it_and_the_process_is_left_as_it_was(monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = dict(os.environ)
    with Watchdog(lambda: ()):
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert dict(os.environ) == before


def wait_for_end(process: Running) -> None:
    end = time.monotonic() + 240
    while process.poll() is None:
        assert time.monotonic() < end, "it does not end"
        time.sleep(0.02)


def a_run(folder, *extra: str) -> RunConfig:
    return RunConfig("prototype", "demo", runs=str(folder / "runs"), extra=extra)


@pytest.mark.slow
def test_runs_of_a_grid(trap, tmp_path, monkeypatch):
    """They import the class that they are given, and so the trap if any."""
    monkeypatch.syspath_prepend(tmp_path)
    run = a_run(tmp_path, "--model=submitit.Method")
    (process,) = LocalProcesses(1).start([Job(run, tmp_path / "log")])
    wait_for_end(process)
    assert "fsbench: error: " in (tmp_path / "log").read_text() and not trap.exists()


@pytest.mark.slow
def test_jobs_of_submitit(trap, tmp_path):
    run = a_run(tmp_path, "--data.test.fold=9")
    (job,) = Submitit("local", tmp_path / "jobs", 1, {}).start([Job(run, tmp_path / "log")])
    wait_for_end(job)
    assert "unknown fold 9" in (tmp_path / "log").read_text() and not trap.exists()
