"""Every method of the suite keeps the contract of methods.

What all have in common is said here once: they learn a batch by heart, an episode is answered alike alone and in a
batch, ways may come in any order, and one or several shots are taken or refused. `make test` looks at three
methods; a method that was changed itself is no slow test for `pytest --changed`, which reads it from the parameter.
"""

from collections.abc import Iterable

import pytest

from fsbench.runner.config.registry import names
from fsbench.runner.contract.subject import Subject
from fsbench.runner.contract.suite import build_subject, run_check
from tests.methods.contract_settings import ALIKE, CROSSING, EXPORTED, OPTIONS, OTHER_CHECKS, PARTLY, QUICK_FORM, WHOLE

OFTEN = ("prototype", "cst", "protonet")
"""Methods that take seconds: one without training, one that learns, and a classifier."""


def keep(method: str, checks: Iterable[str]) -> tuple[Subject, set[str]]:
    """Run checks of a method, none of which fails; return the method and the names of those that apply to it."""
    subject = build_subject(method, extra=OPTIONS.get(method, ()))
    found = [run_check(name, subject) for name in checks]
    assert [outcome for outcome in found if outcome.status == "failed"] == []
    return subject, {outcome.check for outcome in found if outcome.status == "ok"}


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow)
        for name in names("methods")
        if name not in ALIKE
    ],
)
def test_methods_keep_the_contract(method):
    subject, applies = keep(method, PARTLY.get(method, QUICK_FORM))
    assert applies >= {"shapes", "truth"}
    if method not in PARTLY:
        learned = {"gradients", "overfit"}
        assert applies >= {"ways-and-shots", "batch", "checkpoint"}
        assert applies & learned == (learned if subject.method.learns else set())


@pytest.mark.parametrize("method", [pytest.param(name, marks=pytest.mark.slow) for name in WHOLE])
def test_kinds_of_methods_keep_all_of_it(method):
    checks = [name for name in OTHER_CHECKS if name != "export" or method not in EXPORTED]
    assert "determinism" in keep(method, checks)[1]


@pytest.mark.slow
def test_a_method_crosses_processes_and_keeps_memory_flat():
    subject = build_subject("emat", memory_episodes=60)
    for name in CROSSING:
        outcome = run_check(name, subject)
        assert outcome.status == "ok", outcome
