"""Plant known defects one by one and say which the tests find: `python -m tests.planted_defects [AREA ...]`.

tests/planted_defects.yaml lists them. Each is planted in a copy of the repository, whose tests of its area run until
the first fails. Run it before and after tests are thinned out: what was found must be found.

mutmut 3.8 was tried in its place, and what cosmic-ray 8.7 lists was read. Both choose what they change: an operator, a
number, an argument or a name. None of the changes that they made of a draw was another call of its generator or a line
left out, as published numbers were moved by, and neither takes a change that one states.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fsbench.base.paths import REPOSITORY

DEFECTS = Path(__file__).with_suffix(".yaml")
PARTS = ("fsbench", "methods", "datamodules", "configs", "benchmarks", "tests", "docs", "pyproject.toml", "Makefile",
         "README.md")  # fmt: skip
SECONDS = 600
"""Time for the tests of one defect."""


class Outcome(NamedTuple):
    """Outcome of a planted defect.

    It is "found", "missed", "hung", "stale" where the defect's place is no longer in the code, or, in words, how pytest
    ended without a failed test.
    """

    words: str
    seconds: float
    by: str


def copy_of(repository: Path, folder: Path) -> Path:
    """Copy what the tests need of a repository, without caches."""
    ignored = shutil.ignore_patterns("__pycache__", ".venv", ".git")
    for part in (repository / name for name in PARTS):
        if part.is_dir():
            shutil.copytree(part, folder / part.name, ignore=ignored, symlinks=True)
        elif part.is_file():
            shutil.copy(part, folder / part.name)
    return folder


def plant(repository: Path, defect: dict[str, Any], tests: Sequence[str]) -> Outcome:
    """Plant a defect in a copy of `repository`, run the tests that are there, and return what came of it."""
    with tempfile.TemporaryDirectory(prefix="planted-") as place:
        folder = copy_of(repository, Path(place))
        file = folder / defect["file"]
        text = file.read_text() if file.is_file() else ""
        if text.count(defect["old"]) != 1:
            return Outcome("stale", 0, f"{text.count(defect['old'])} places")
        file.write_text(text.replace(defect["old"], defect["new"]))
        there = [test for test in tests if (folder / test).exists()]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider"]
        environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        environment.pop("FSBENCH_GOLDENS", None)  # with which goldens of the repository are left to slow tests
        began = time.monotonic()
        try:
            done = subprocess.run(
                [*command, *there], cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            return Outcome("hung", SECONDS, "")
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        seconds = time.monotonic() - began
        if failed:
            return Outcome("found", seconds, failed[0][:110])
        # Python ends with 1 as well where pytest is not installed or cannot start, which finds nothing
        return Outcome("missed" if done.returncode == 0 else f"pytest ended with {done.returncode}", seconds, "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each defect; the exit status is 1 where one was not found."""
    areas = yaml.safe_load(DEFECTS.read_text())
    parser = argparse.ArgumentParser(description="plant known defects and say which the tests find")
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"any of {', '.join(areas)}; all if none")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="another checkout, such as an older one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="defects at a time")
    given = parser.parse_args(arguments)
    if unknown := set(given.areas) - set(areas):
        parser.error(f"unknown areas {', '.join(sorted(unknown))}; expected some of {', '.join(areas)}")
    chosen = [
        (area, number, defect, areas[area]["tests"])
        for area in given.areas or areas
        for number, defect in enumerate(areas[area]["defects"], 1)
    ]
    with ThreadPoolExecutor(given.jobs) as pool:
        outcomes = pool.map(lambda one: plant(given.repository, one[2], one[3]), chosen)
        found = 0
        for (area, number, defect, _), outcome in zip(chosen, outcomes, strict=True):
            found += outcome.words == "found"
            place = f"{area} {number}  {defect['file']}"
            print(f"{outcome.words:8} {outcome.seconds:5.0f} s  {place}  {outcome.by}", flush=True)
    print(f"{found} of {len(chosen)} found")
    return int(found < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
