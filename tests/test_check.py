"""`make check`: the linters, the type checker and the order of imports find nothing."""

import os
import subprocess
import sys

import pytest

from fsbench.base.paths import IS_CLONE, REPOSITORY

INSTALLED = ["-o", f"{sys.prefix}/.fsbench-installed", "-o", f"{sys.prefix}/.fsbench-test-installed"]


@pytest.mark.slow(150)
@pytest.mark.skipif(not IS_CLONE, reason="what a clone has is checked")
def test_make_check_passes():
    environment = {"PATH": os.environ["PATH"]}  # variables of the make that runs the tests are not this one's
    command = ["make", *INSTALLED, f"VENV={sys.prefix}", "check"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
