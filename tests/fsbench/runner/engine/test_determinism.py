"""Kernels without a fixed order are named where they are used."""

import logging
import os
import sys

import pytest
import torch

from fsbench.protocols.counting import ALLOWED
from fsbench.results.tables.table import build_blocks
from fsbench.runner.engine.machine.determinism import set_determinism, unordered_kernels
from tests.fsbench.runs import changed


@pytest.fixture
def warning_torch():
    logging.captureWarnings(True)
    torch.use_deterministic_algorithms(True, warn_only=True)  # trainer.deterministic: warn
    yield
    torch.use_deterministic_algorithms(False)
    logging.captureWarnings(False)


def scatter():
    torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))


def test_each_block_names_its_kernels(warning_torch, caplog):
    """Also one that was named before, at the same line; the log has each once."""
    for _ in range(2):
        with unordered_kernels() as kernels:
            for _ in range(3):
                scatter()
        assert kernels == {"put_"}
    with unordered_kernels() as kernels:
        torch.zeros(3).sum()
    assert kernels == set()
    assert [record.getMessage().count("put_ does not have") for record in caplog.records] == [1, 1]


def test_a_table_says_so(make):
    record = make("m", 0)
    assert not any("no fixed order" in note for note in build_blocks([record])[0].notes)
    of = {"made": {"unordered_kernels": ["a"]}, "provenance": {"unordered_kernels": ["b", "c"]}}
    (block,) = build_blocks([changed(record, **of)])
    said = [note for note in block.notes if "no fixed order" in note]
    assert said == [
        "m: a add in no fixed order, so training it again gives other weights",
        f"m: b, c add in no fixed order, so a repeated test may count up to {ALLOWED:.1%} of an episode's pixels "
        "otherwise",
    ]


@pytest.fixture
def torch_before_runs(monkeypatch):
    """As before the compiler is imported, with settings that are restored."""
    monkeypatch.delitem(sys.modules, "torch._inductor.config", raising=False)
    for name in VARIABLES:
        monkeypatch.setenv(name, "as it was")
    monkeypatch.setattr(torch, "use_deterministic_algorithms", None)  # not called
    benchmark = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    yield
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.benchmark = benchmark


VARIABLES = ("TORCHINDUCTOR_DETERMINISTIC", "CUBLAS_WORKSPACE_CONFIG")


@pytest.mark.parametrize(
    ("mode", "debug_mode", "variables", "benchmark"),
    [("warn", 1, ("1", ":4096:8"), False), (True, 2, ("1", ":4096:8"), False), (False, 0, ("0", "as it was"), True)],
)
def test_the_trainers_arguments_are_followed(torch_before_runs, mode, debug_mode, variables, benchmark):
    left = set_determinism({"deterministic": mode, "benchmark": None, "devices": 1})
    assert left == {"deterministic": None, "benchmark": None, "devices": 1}
    assert torch.get_deterministic_debug_mode() == debug_mode
    assert tuple(os.environ[name] for name in VARIABLES) == variables
    assert torch.backends.cudnn.benchmark is benchmark


@pytest.mark.parametrize(("mode", "benchmark"), [(None, None), ("warn", True)])
def test_what_is_not_asked_for_or_needs_a_warning_is_left_to_the_trainer(torch_before_runs, mode, benchmark):
    arguments = {"deterministic": mode, "benchmark": benchmark}
    assert set_determinism(arguments) == arguments and torch.get_deterministic_debug_mode() == 0


def test_once_the_compiler_is_there_the_trainer_sets_it(torch_before_runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch._inductor.config", None)
    arguments = {"deterministic": True, "benchmark": False}
    assert set_determinism(arguments) == arguments and torch.get_deterministic_debug_mode() == 0
