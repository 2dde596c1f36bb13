"""The checks of a method under pytest: the fixture `fsbench_check` runs each of them in turn.

    @pytest.mark.fsbench_method("./mine.py:Mine")
    def test_contract(fsbench_check):
        fsbench_check()

Every pytest where fsbench is installed loads this file, so it imports nothing heavy by itself.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fsbench_method(name): the method that the fixture fsbench_check looks at")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that use the fixture `fsbench_check` by all checks of a method's contract."""
    if "fsbench_check" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("fsbench_method")
    if marker is None or not marker.args:
        raise pytest.UsageError('fsbench_check needs @pytest.mark.fsbench_method("NAME") with the name of a method')
    from fsbench.runner.contract.suite import CHECKS  # torch, which other sessions spare

    metafunc.parametrize("fsbench_check", [(marker.args[0], name) for name in CHECKS], indirect=True, ids=list(CHECKS))


@pytest.fixture
def fsbench_check(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Return one check of the test's marked method as a function that fails, or skips if it does not apply."""
    method, name = request.param

    def check() -> None:
        from fsbench.runner.contract.suite import run_check  # torch, which other sessions spare

        outcome = run_check(name, _subject(method))
        if outcome.status == "does not apply":
            pytest.skip(outcome.text)
        if outcome.status == "failed":
            pytest.fail(f"{name}: {outcome.text}", pytrace=False)

    return check


@cache
def _subject(method: str) -> Any:
    """Return the method, made ready once for all its checks."""
    from fsbench.runner.contract.suite import build_subject  # torch, which other sessions spare

    return build_subject(method)
