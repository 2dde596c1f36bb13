"""The suite in the working folder of another repository, whose packages have the names of our folders."""

import subprocess
import sys
from pathlib import Path

import pytest

from fsbench.base.paths import IS_CLONE, REPOSITORY
from tests.cli.conftest import environment_of_test
from tests.plugged import METHOD

FOREIGN = ("methods", "datamodules", "data", "configs", "utils", "benchmarks", "tests")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of packages that raise when they are imported."""
    for name in FOREIGN:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('{name} is somebody else\\'s')\n")
    return tmp_path


def test_the_suite_is_listed(foreign, fsbench):
    done = fsbench("list")
    assert done.returncode == 0 and "prototype" in done.stdout, done.stderr


def test_the_packages_are_those_of_the_folder(foreign):
    """Without which the other tests would test nothing."""
    for name in FOREIGN:
        done = python(foreign, f"import {name}")
        assert f"{name} is somebody else's" in done.stderr


@pytest.mark.slow(7)
def test_a_predictor_is_built_and_each_class_is_there_once(foreign):
    done = python(
        foreign,
        "import fsbench, sys\n"
        "predictor = fsbench.Predictor('prototype', dataset='demo')\n"
        "print(type(predictor.method).__module__, sorted({'methods', 'datamodules'} & set(sys.modules)))",
    )
    assert done.stdout.strip() == "fsbench.methods.prototype []", done.stderr


@pytest.mark.slow
def test_a_trial_runs(foreign, fsbench):
    done = fsbench("bench", "--method", "prototype", "--dataset", "demo", "--fast", "--runs", "runs")
    assert done.returncode == 0, done.stderr
    assert "prototype" in done.stdout and list((foreign / "runs").glob("*/run.json"))


@pytest.mark.skipif(not IS_CLONE, reason="a wheel has no such folders")
def test_the_former_names_say_what_to_import():
    for name in ("methods", "datamodules"):
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
        "run = RunConfig('prototype', 'demo', extra=given)\n"
        "print(type(run.parse(build=False).build_method()))",
    )
    assert done.stdout.strip() == "<class 'methods.theirs.Constant'>", done.stderr


def python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a folder, which goes before what is installed."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment_of_test(folder), capture_output=True, text=True)
