"""The plug-in in a pytest of its own."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from fsbench.base.paths import REPOSITORY

TEST = """
import pytest

@pytest.mark.fsbench_method("prototype")
def test_contract(fsbench_check):
    fsbench_check()
"""


def run_pytest(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments]
    if "fsbench.runner.contract.pytest_plugin" not in [point.value for point in entry_points(group="pytest11")]:
        command += ["-p", "fsbench.runner.contract.pytest_plugin"]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
    )


def test_importing_it_brings_no_torch():
    code = "import sys, fsbench.runner.contract.pytest_plugin; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_the_fixture_and_the_option(tmp_path):
    (tmp_path / "test_mine.py").write_text(TEST)
    chosen = ["-k", "shapes or gradients"]
    done = run_pytest(tmp_path, "--fsbench-method", "prototype", *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed, 2 skipped, 30 deselected" in done.stdout
    assert "nothing is learned before the episodes" in done.stdout
