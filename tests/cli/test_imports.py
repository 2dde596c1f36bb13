"""The suite in a working folder whose packages have the names of ours: no process of a command imports them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fsbench.base.paths import IS_CLONE, REPOSITORY
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.machine.watchdog import Watchdog, child_environment, safe_imports
from fsbench.runner.grid.children import Job
from fsbench.runner.grid.executors import LocalProcesses, Submitit
from tests.cli.commands import images_of
from tests.cli.conftest import environment_of_test
from tests.cli.processes import wait_for
from tests.plugged import METHOD

FOREIGN = ("methods", "datamodules", "data", "configs", "utils", "benchmarks", "tests")
TRAP = "from pathlib import Path\nPath('trapped').touch()\n"


def python(folder: Path, code: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a folder, which goes before what is installed."""
    environment = environment_of_test(folder) if environment is None else environment
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of packages that raise when they are imported."""
    for name in FOREIGN:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('{name} is somebody else\\'s')\n")
    return tmp_path


@pytest.fixture
def trap(tmp_path, monkeypatch) -> Path:
    """A working folder with a `fsbench` and a `submitit` of somebody else's; the file that they would write."""
    for name in ("fsbench", "submitit", "lightning"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(TRAP)
        (tmp_path / name / "__main__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "trapped"


def test_the_folders_are_what_python_imports(foreign, trap):
    """Without which the other tests would test nothing."""
    names = ("methods", "benchmarks")
    done = python(foreign, f"for name in {names}:\n try: __import__(name)\n except RuntimeError as error: print(error)")
    assert done.stdout.splitlines() == [f"{name} is somebody else's" for name in names]
    subprocess.run([sys.executable, "-m", "fsbench"], check=True)
    assert trap.exists()


def test_a_child_imports_the_suite_alone(trap, tmp_path):
    found = python(tmp_path, "import fsbench; print(fsbench.__file__)", child_environment())
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


@pytest.mark.slow
@pytest.mark.parametrize("where", ["a grid", "submitit"])
def test_runs_in_other_processes(trap, tmp_path, monkeypatch, where):
    """They import the class that they are given, and so the trap if any."""
    if where == "a grid":
        monkeypatch.syspath_prepend(tmp_path)
        wrong, said, executor = "--model=submitit.Method", "fsbench: error: ", LocalProcesses(1)
    else:
        wrong, said, executor = "--data.test.fold=9", "unknown fold 9", Submitit("local", tmp_path / "jobs", 1, {})
    run = RunConfig("prototype", "demo", runs=str(tmp_path / "runs"), extra=(wrong,))
    (process,) = executor.start([Job(run, tmp_path / "log")])
    wait_for(lambda: process.poll() is not None)
    assert said in (tmp_path / "log").read_text() and not trap.exists()


@pytest.mark.slow(30)
def test_a_trial_runs_and_a_predictor_is_built(foreign, fsbench, small_demo):
    trial = ["bench", "--method", "prototype", "--dataset", "demo", "--fast", "--runs", "runs"]
    done = fsbench(*trial, *images_of(small_demo))
    assert done.returncode == 0, done.stderr
    assert "prototype" in done.stdout and list((foreign / "runs").glob("*/run.json"))
    done = python(
        foreign,
        "import fsbench, sys\n"
        "predictor = fsbench.Predictor('prototype', dataset='demo')\n"
        "print(type(predictor.method).__module__, sorted({'methods', 'datamodules'} & set(sys.modules)))",
    )
    assert done.stdout.strip() == "fsbench.methods.prototype []", done.stderr  # each class is there once


@pytest.mark.skipif(not IS_CLONE, reason="a wheel has no such folders")
@pytest.mark.parametrize("name", ["methods", "datamodules"])
def test_the_names_of_our_folders_say_what_to_import(name):
    done = python(REPOSITORY, f"import {name}")
    assert f"was imported as {name}; import fsbench.{name} instead" in done.stderr


@pytest.mark.slow(7)
def test_a_class_of_a_foreign_package_with_the_name_of_our_folder_is_theirs(tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "__init__.py").touch()
    (tmp_path / "methods" / "theirs.py").write_text(METHOD)
    done = python(
        tmp_path,
        "from fsbench.runner.config.run_config import RunConfig\n"
        "given = ['--model=methods.theirs.Constant', '--model.backbone.name=demo', '--model.value=0']\n"
        "print(type(RunConfig('prototype', 'demo', extra=given).parse(build=False).build_method()))",
    )
    assert done.stdout.strip() == "<class 'methods.theirs.Constant'>", done.stderr
