"""Run tests with the packages of a folder that PYTHONPATH names first, and write what became of each test as JSON.

    PYTHONPATH=FOLDER python .ci/cell.py ANSWER FOLDER NAMES TESTS...

NAMES, joined by commas, are the packages of the folder that the tests are about. That the tests really ran with them is
looked at where they ran: whatever says otherwise is a sentence in the answer.
"""

import json
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest

SECONDS = 4
"""A test that states by its marker `slow` that it takes longer is left out."""


class Outcomes:
    """What became of each test: passed, skipped or failed, by its id."""

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
        names: those of them that a test must have imported.
    """
    found = []
    for ours in distributions(path=[str(folder)]):
        version = distribution(ours.name).version
        if version != ours.version:
            found.append(f"{ours.name} {version} is installed before {ours.version} of the cell")
        files = [module_file(module) for module in modules(ours) if module in sys.modules]
        found += [f"{ours.name} was imported from {file}" for file in files if file and not file.is_relative_to(folder)]
        if ours.name in names and not files:
            found.append(f"no test imported {ours.name}")
    return found


def modules(package: Distribution) -> set[str]:
    """Return the names of the modules and folders that a package installs side by side with others."""
    return {file.parts[0].partition(".")[0] for file in package.files or () if file.suffix in (".py", ".so")}


def module_file(name: str) -> Path | None:
    """Return the file of an imported module; None for a folder without one, which several packages may fill."""
    file = sys.modules[name].__file__
    return Path(file) if file else None


if __name__ == "__main__":
    answer, folder, names, *tests = sys.argv[1:]
    outcomes = Outcomes()
    pytest.main(["-q", "-n0", "--tb=short", "-p", "no:cacheprovider", *tests], plugins=[outcomes])
    content = {"tests": outcomes.by_test, "elsewhere": elsewhere(Path(folder), names.split(","))}
    Path(answer).write_text(json.dumps(content))
