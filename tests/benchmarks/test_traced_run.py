"""The way from `fsbench.evaluate` to the first prediction is short, and as long as the manual says."""

import os
import re
import subprocess
import sys

import pytest

from fsbench.base.paths import IS_CLONE, REPOSITORY

pytestmark = [pytest.mark.skipif(not IS_CLONE, reason="the manual is a clone's"), pytest.mark.slow(15)]

MOST_FILES, MOST_FUNCTIONS = 45, 250


def test_the_manual_has_the_figures_of_the_command(tmp_path):
    """In a process of its own, since caches of another would shorten the way."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.traced_run"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip
    counted = re.fullmatch(r"(\d+) files, (\d+) functions until the first prediction\n", done.stdout)
    assert counted, done.stderr
    files, functions = map(int, counted.groups())
    assert 20 < files <= MOST_FILES and 100 < functions <= MOST_FUNCTIONS
    assert f"runs {functions} functions in {files} files until" in (REPOSITORY / "docs" / "architecture.md").read_text()
