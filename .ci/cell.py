"""Run tests with the packages of a folder that PYTHONPATH names first, and write what became of each test as JSON.

    PYTHONPATH=FOLDER python .ci/cell.py ANSWER FOLDER NAMES TESTS...

NAMES, one argument with spaces, are the packages of the folder that the tests are about. Whether the tests really ran
with them is looked at in their own process: each package that came from elsewhere is a sentence in the answer.
"""

import json
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

SECONDS = 4
"""A test that states by its marker `slow` that it takes longer is left out."""


class Outcomes:
    """Collect the outcome of each test (passed, skipped or failed) by its id."""

    def __init__(self) -> None:
        self.by_test: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        markers = {item: item.get_closest_marker("slow") for item in items}
        items[:] = [item for item, slow in markers.items() if slow is None or (slow.args and slow.args[0] <= SECONDS)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.by_test[report.nodeid] = report.outcome

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.by_test[report.nodeid or "collection"] = "failed"


def elsewhere(folder: Path, names: Sequence[str]) -> list[str]:
    """Return a sentence for each package of the folder that this process has from elsewhere.

    Args:
        folder: where the packages of the cell lie.
        names: those that must lie there, and that a test must have imported.
    """
    found = []
    idle = {canonicalize_name(name) for name in names}
    for ours in distributions(path=[str(folder)]):
        version = distribution(ours.name).version
        if version != ours.version:
            found.append(f"{ours.name} {version} is installed before {ours.version} of the cell")
        for file in imported_files(ours):
            idle.discard(canonicalize_name(ours.name))
            if not file.is_relative_to(folder):
                found.append(f"{ours.name} was imported from {file}")
    return found + [f"no test imported {name} of the cell" for name in sorted(idle)]


def imported_files(package: Distribution) -> list[Path]:
    """Return the files from which this process has imported the modules that a package installs at the top."""
    names = {file.parts[0].partition(".")[0] for file in package.files or () if file.suffix in (".py", ".so")}
    specifications = [sys.modules[name].__spec__ for name in names if name in sys.modules]
    return [Path(one.origin) for one in specifications if one and one.origin]


if __name__ == "__main__":
    answer, folder, names, *tests = sys.argv[1:]
    outcomes = Outcomes()
    pytest.main(["-q", "-n0", "--tb=short", "-p", "no:cacheprovider", *tests], plugins=[outcomes])
    content = {"tests": outcomes.by_test, "elsewhere": elsewhere(Path(folder), names.split())}
    Path(answer).write_text(json.dumps(content))
