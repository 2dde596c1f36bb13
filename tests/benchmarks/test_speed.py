"""The benchmarks run and compare what they time."""

import re
import subprocess
import sys

from fsbench.paths import REPOSITORY


def test_dcamas_paths_are_compared_and_timed():
    command = [sys.executable, "-m", "benchmarks.speed.dcama", "--device", "cpu", "--side", "32", "--shots", "1,2"]
    done = subprocess.run(
        [*command, "--backbone", "swin_base"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[2:]
    assert [line.split()[1] for line in lines] == ["1"] * 4 + ["2"] * 2
    assert all(re.search(r"s +\d+ MiB .* \d+\.\dx", line) for line in lines)
    assert all(float(line.split()[-1]) < 1e-4 for line in lines)
