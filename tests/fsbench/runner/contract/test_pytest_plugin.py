"""The plug-in in a pytest of its own."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from fsbench.base.paths import REPOSITORY

PLUGIN = "fsbench.runner.contract.pytest_plugin"
TEST = """
import pytest

@pytest.mark.fsbench_method("prototype")
def test_contract(fsbench_check):
    fsbench_check()
"""


def test_importing_it_brings_no_torch():
    code = f"import sys, {PLUGIN}; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_the_fixture(tmp_path):
    (tmp_path / "test_mine.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", "shapes or gradients"]
    if PLUGIN not in [point.value for point in entry_points(group="pytest11")]:
        command += ["-p", PLUGIN]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped, 17 deselected" in done.stdout
    assert "nothing is learned before the episodes" in done.stdout
