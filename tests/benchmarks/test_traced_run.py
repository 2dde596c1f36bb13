"""The way from `fsbench.evaluate` to the first prediction is no longer than the manual says."""

import os
import re
import subprocess
import sys

import pytest

from fsbench.base.paths import IS_CLONE, REPOSITORY

pytestmark = [pytest.mark.skipif(not IS_CLONE, reason="the manual is a clone's"), pytest.mark.slow(15)]

MOST_FILES, MOST_FUNCTIONS = 57, 337
MANUAL = REPOSITORY / "docs" / "architecture.md"


def test_the_way_is_within_the_bounds_of_the_manual(tmp_path):
    """In a process of its own, since caches of another would shorten the way."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.traced_run"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip
    counted = re.fullmatch(r"(\d+) files, (\d+) functions until the first prediction\n", done.stdout)
    assert counted, done.stderr
    files, functions = map(int, counted.groups())
    assert 20 < files <= MOST_FILES and 100 < functions <= MOST_FUNCTIONS
    assert f"runs at most {MOST_FUNCTIONS} functions in {MOST_FILES} files until" in MANUAL.read_text()
