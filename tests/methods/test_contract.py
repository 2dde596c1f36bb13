"""Every method of the suite keeps the contract of methods.

What all have in common is said here once: they learn a batch by heart, an episode is answered alike alone and in a
batch, ways may come in any order, and one or several shots are taken or refused. `make test` looks at one method of
each family, and `make test CHANGED=1` also at those whose own files have changed.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

import pytest

from fsbench.config.registry import names
from fsbench.contract.subject import Subject
from fsbench.contract.suite import build_subject, run_check
from tests.changed import REACH, registered_classes
from tests.methods.contract_settings import CROSSING, OPTIONS, OTHER_CHECKS, PARTLY, QUICK_FORM, WHOLE

FAMILIES = {"emat": "trained", "prototype": "training-free", "persam": "on SAM", "protonet": "a classifier"}
"""One method of each family, seconds each; the others are slow."""


def methods_of(files: Iterable[PurePosixPath]) -> set[str]:
    """Return the methods whose configuration, module or package holds one of some files of the repository."""
    changed = {file.parts[1].removesuffix(".py") for file in files if file.parts[0] == "methods"}
    configurations = {file.name.split(".")[0] for file in files if file.parts[:2] == ("configs", "methods")}
    classes = registered_classes()
    packages = {
        name: {module.split(".")[1] for module in classes.get(f"configs/methods/{name}.yaml", ())}
        for name in names("methods")
    }
    return {name for name, own in packages.items() if own & changed or name in configurations}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test its methods: each a slow test, but for one of each family and the changed ones."""
    methods = {test_methods_keep_the_contract: names("methods"), test_kinds_of_methods_keep_all_of_it: WHOLE}
    if given := methods.get(metafunc.function):
        stash = metafunc.config.stash
        quick = methods_of(stash[REACH].files) if REACH in stash else set()
        if metafunc.function is test_methods_keep_the_contract:
            quick |= FAMILIES.keys()
        metafunc.parametrize(
            "method", [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in given]
        )


def keep(method: str, checks: Iterable[str]) -> tuple[Subject, set[str]]:
    """Run checks of a method, none of which fails; return the method and the names of those that apply to it."""
    subject = build_subject(method, extra=OPTIONS.get(method, ()))
    found = [run_check(name, subject) for name in checks]
    assert [outcome for outcome in found if outcome.status == "failed"] == []
    return subject, {outcome.check for outcome in found if outcome.status == "ok"}


def test_methods_keep_the_contract(method):
    subject, applies = keep(method, PARTLY.get(method, QUICK_FORM))
    assert applies >= {"shapes", "truth"}
    if method not in PARTLY:
        learned = {"gradients", "overfit"}
        assert applies >= {"ways-and-shots", "batch", "checkpoint"}
        assert applies & learned == (learned if subject.method.learns else set())


def test_kinds_of_methods_keep_all_of_it(method):
    assert "determinism" in keep(method, OTHER_CHECKS)[1]


@pytest.mark.parametrize(
    ("file", "methods"),
    [
        ("methods/pfenet.py", {"pfenet"}),
        ("methods/sansa/prompts.py", {"sansa", "sansa_generalist"}),
        ("configs/methods/hmnet.coco.yaml", {"hmnet"}),
        ("methods/modules/style.py", set()),
        ("fsbench/core/method.py", set()),
    ],
)
def test_a_change_of_a_methods_own_files_asks_for_its_contract(file, methods):
    assert methods_of([PurePosixPath(file)]) == methods


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prototype", "emat"])
def test_methods_cross_processes_and_keep_memory_flat(method):
    subject = build_subject(method, memory_episodes=60)
    for name in CROSSING:
        outcome = run_check(name, subject)
        assert outcome.status == "ok", outcome
