"""Tests that are run together: each leaves the record that it leaves by itself, and no input is answered twice."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.doors.together import ask_once, run_together
from fsbench.methods.prototype import Prototype
from fsbench.records.record import read_record
from fsbench.runner.config.request import Request
from fsbench.runner.engine.experiment import Experiment, build_experiment
from fsbench.runner.engine.run import run

TESTS = ("hsnet", "sansa", "pfenet", "bam", "fscs")
"""Two that show images alike and compare them at one size by other truths, and three that show them otherwise."""


def experiments(runs, *more, tests=TESTS, method="prototype") -> list[Experiment]:
    few = ("--data.episodes=12", "--data.image_size=64", "--data.workers=0", "--trainer.enable_progress_bar=false")
    requests = [
        Request(methods=[method], backbone="demo", runs=str(runs), protocol=name, drop_small=True, extra=(*few, *more))
        for name in tests
    ]
    return [build_experiment(request.configuration(method, 0)) for request in requests]


@pytest.fixture
def asked(monkeypatch) -> list[tuple[object, ...]]:
    """Record the query, the supports and the size of the answer of every forward of the prototype."""
    found: list[tuple[object, ...]] = []
    forward = Prototype.forward

    def counted(self, batch):
        names = batch.image_names
        supports = tuple(names[row] for row in batch.support.flatten().tolist())
        masks = batch.support_labels.numpy().tobytes(), batch.images.numpy().tobytes()
        found.append((names[int(batch.query[0])], supports, tuple(batch.query_sizes[0].tolist()), masks))
        return forward(self, batch)

    monkeypatch.setattr(Prototype, "forward", counted)
    return found


@pytest.mark.slow(15)
def test_together_as_alone(tmp_path, asked):
    """Counts and kept masks are those of each test alone, and what was asked before is not asked again."""
    together = run_together(experiments(tmp_path / "together"))
    once = list(asked)
    alone = [run(experiment) for experiment in experiments(tmp_path / "alone")]
    assert len(set(once)) == len(once) < len(asked) - len(once)
    for one, other in zip(together, alone, strict=True):
        assert one.path.name == other.path.name
        assert one.run.counts_sha256 == other.run.counts_sha256 and one.run.predictions == other.run.predictions
        assert one.run.scores == other.run.scores and one.episodes.equals(other.episodes)


@pytest.mark.slow(4)
def test_it_goes_on_where_it_was_interrupted(tmp_path, asked):
    tests = ("hsnet", "pfenet")
    whole = [record.run.counts_sha256 for record in run_together(experiments(tmp_path / "whole", tests=tests))]
    number = len(asked)

    begun = experiments(tmp_path / "begun", tests=tests)
    method = begun[0].method

    def stopping(batch):
        if len(asked) == number + 5:
            raise KeyboardInterrupt
        return type(method).forward(method, batch)

    method.forward = stopping
    with pytest.raises(KeyboardInterrupt):
        run_together(begun)
    assert not any(read_record(one.folder) for one in begun)
    again = run_together(experiments(tmp_path / "begun", tests=tests))
    assert [record.run.counts_sha256 for record in again] == whole
    assert len(asked) == 2 * number
    run_together(experiments(tmp_path / "begun", tests=tests))  # all is there
    assert len(asked) == 2 * number


@pytest.mark.slow(10)
def test_a_method_that_draws_by_number_is_asked_by_number(tmp_path):
    found = experiments(tmp_path, tests=("hsnet",), method="prototype")
    numbers = {(e.query, e.classes, e.supports) for e in found[0].data.manifest.episodes}
    assert len(ask_once(found)) == len(numbers)
    found[0].method.draws_by_number = True
    assert len(ask_once(found)) == 12


def test_what_cannot_be_run_together_is_said(tmp_path):
    with pytest.raises(SettingsError, match="emat_demo learns, and a network of each test's own training"):
        run_together(experiments(tmp_path, tests=("hsnet",), method="emat"))
    other = experiments(tmp_path, "--data.image_size=32", tests=("pfenet",))
    with pytest.raises(SettingsError, match="pfenet: prototype_demo has other settings there; expected one method"):
        run_together([*experiments(tmp_path, tests=("hsnet",)), *other])
