"""The checks of a method under pytest.

`pytest --fsbench-method NAME` adds them to a session's tests. In a test file, the fixture `fsbench_check` stands for
each of them in turn:

    @pytest.mark.fsbench_method("./mine.py:Mine")
    def test_contract(fsbench_check):
        fsbench_check()

Every pytest where fsbench is installed loads this file, so it imports nothing heavy by itself.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fsbench-method",
        action="append",
        default=[],
        metavar="NAME",
        help="check that this method of fsbench keeps the contract of methods; may be given several times",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fsbench_method(name): the method that the fixture fsbench_check looks at")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests with the fixture `fsbench_check` by all checks."""
    if "fsbench_check" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("fsbench_method")
    if marker is None or not marker.args:
        raise pytest.UsageError('fsbench_check needs @pytest.mark.fsbench_method("NAME") with the name of a method')
    from fsbench.runner.contract.suite import CHECKS  # torch, which other sessions spare

    metafunc.parametrize("fsbench_check", [(marker.args[0], name) for name in CHECKS], indirect=True, ids=list(CHECKS))


@pytest.fixture
def fsbench_check(request: pytest.FixtureRequest) -> Callable[[], None]:
    """One check of the marked method: a function that skips, fails or returns."""
    method, name = request.param
    return lambda: _run(method, name)


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks of the methods that the command line names."""
    methods = config.getoption("--fsbench-method")
    if not methods:
        return
    from fsbench.runner.contract.suite import CHECKS  # torch, which other sessions spare

    for method in methods:
        for name in CHECKS:
            items.append(ContractItem.from_parent(session, name=f"{method}[{name}]", method=method, check=name))


class ContractItem(pytest.Item):
    """One check of one method as a test."""

    def __init__(self, *, method: str, check: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.method, self.check = method, check

    def runtest(self) -> None:
        _run(self.method, self.check)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, f"contract of {self.method}: {self.check}"


def _run(method: str, name: str) -> None:
    """Run one check; skip where it does not apply, fail with its line where it fails."""
    from fsbench.runner.contract.suite import run_check  # torch, which other sessions spare

    outcome = run_check(name, _subject(method))
    if outcome.status == "does not apply":
        pytest.skip(outcome.text)
    if outcome.status == "failed":
        pytest.fail(f"{name}: {outcome.text}", pytrace=False)


@cache
def _subject(method: str) -> Any:
    """Return the method, made ready once for all its checks."""
    from fsbench.runner.contract.suite import build_subject  # torch, which other sessions spare

    return build_subject(method)
