"""Kernels without a fixed order are named where they are used."""

import logging

import pytest
import torch

from fsbench.protocols.counting import ALLOWED
from fsbench.results.tables.table import build_blocks
from fsbench.runner.engine.machine.determinism import unordered_kernels
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
