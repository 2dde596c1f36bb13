"""Whoever reads the truth is named by the check of this name, whatever path it takes and whatever it does without."""

import re

import pytest

from fsbench.cli.main import main
from fsbench.runner.contract.subject import Subject
from fsbench.runner.contract.suite import CHECKS, run_check
from tests.fsbench.runner.contract import truth_readers as readers
from tests.fsbench.runner.contract.test_pytest_plugin import run_pytest

ASKS = r"asks for the truth \(truth_readers.py, line \d+\)"
FAILS = "reads the truth: it answers with it, and fails without"
SILENT = "other answers where the truth is not withheld"

READERS = {
    readers.Asks: ASKS,
    readers.AsksInPredictShots: ASKS,
    readers.AsksForPresence: ASKS,
    readers.AsksForBaseMaps: ASKS,
    readers.AsksKnownTruth: ASKS,
    readers.AsksByVars: ASKS,
    readers.AsksByFields: ASKS,
    readers.AsksByAsdict: FAILS + " .*TypeError",
    readers.AsksOnTheWay: ASKS,
    readers.AsksInBatch: "asks for the truth",
    readers.AsksDataSet: ASKS,
    readers.AsksDataSetForPixels: "asks for the truth",
    readers.Requires: FAILS + r" \(AssertionError.*truth_readers.py, line \d+",
    readers.RequiresAny: FAILS + r" \(AssertionError",
    readers.Counts: FAILS + r" \(TypeError",
    readers.AsksInOtherWords: FAILS + r" \(AttributeError: no label maps",
    readers.AnswersNothing: FAILS + r" \(AttributeError",
    readers.Takes: SILENT,
    readers.TakesByType: SILENT,
    readers.TakesByVars: SILENT,
    readers.TakesClass: SILENT,
    readers.TakesOnTheWay: SILENT,
    readers.TakesInBatch: SILENT,
    readers.TakesFromDataSet: SILENT,
}
QUICK = [name for name in CHECKS if name not in ("another-process", "overfit", "memory", "checkpoint")]


@pytest.mark.parametrize("method", READERS, ids=lambda method: method.__name__)
def test_a_method_that_reads_the_truth_is_named_by_the_check_of_the_truth(method):
    outcome = run_check("truth", Subject(method, 32))
    assert outcome.status == "failed" and re.search(READERS[method], outcome.text), outcome
    assert "expected" in outcome.text and len(outcome.text.splitlines()) == 1


@pytest.mark.parametrize(
    "method", [readers.Asks, *(pytest.param(one, marks=pytest.mark.slow) for one in (readers.Requires, readers.Takes))]
)
def test_and_by_no_other_check(method):
    """One method of each way to be found."""
    subject = Subject(method, 32)
    outcomes = {name: run_check(name, subject) for name in QUICK}
    assert [name for name, outcome in outcomes.items() if outcome.status == "failed"] == ["truth"], outcomes


@pytest.mark.parametrize("method", [readers.ReadsNamesOfClasses, readers.HandlesHints])
def test_what_is_no_truth_may_be_read(method):
    outcome = run_check("truth", Subject(method, 32))
    assert outcome.status == "ok", outcome


METHOD = """
import torch
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter

class Cheat(Segmenter):
    learns = False

    def __init__(self, backbone: BackboneConfig):
        super().__init__(backbone)

    @property
    def predicts_presence(self):
        return False

    def forward(self, episode):
        return Prediction(episode.truth.label_maps[0].long())
"""


@pytest.mark.parametrize("only", [[], ["--only", "truth"], ["--only", "shapes,truth"]])
def test_the_command_names_it(tmp_path, capsys, only):
    (tmp_path / "cheat.py").write_text(METHOD)
    assert main(["check-method", f"{tmp_path / 'cheat.py'}:Cheat", *only]) == 1
    _, *lines, end = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if re.match(r"\S+ +failed", line)]
    assert len(failed) == 1 and failed[0].startswith("truth ") and "asks for the truth (cheat.py, line 18)" in failed[0]
    assert re.search(r"\d+ checks?, 1 failed$", end)


@pytest.mark.slow
def test_pytest_names_it(tmp_path):
    (tmp_path / "cheat.py").write_text(METHOD)
    done = run_pytest(tmp_path, "--fsbench-method", "./cheat.py:Cheat", "-k", "shapes or truth")
    assert done.returncode == 1 and "1 failed, 1 skipped" in done.stdout, done.stdout
    assert "truth: found a method that asks for the truth (cheat.py" in done.stdout
