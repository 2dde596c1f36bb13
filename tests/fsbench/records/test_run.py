"""A run.json is read with types and given back as it was."""

import json
from pathlib import Path

import pytest

from fsbench.base.errors import RecordError
from fsbench.records.run import TRAINED_HERE, UNTRAINED, Run, read_run, sealed, write_run
from tests.fsbench.runs import some_run

WHOLE = Path(__file__).parent / "run.json"
"""A run of EMAT on the demo, as it is written."""


def read(folder, values):
    """Return the run of a run.json with these values."""
    (folder / "run.json").write_text(json.dumps(values))
    return read_run(folder / "run.json")


def test_a_run_is_written_as_it_was(tmp_path):
    """Every byte: the order of its entries, what is None and what is not there, and what a later version adds."""
    text = WHOLE.read_text()
    run = read_run(WHOLE)
    write_run(tmp_path / "run.json", run)
    assert (tmp_path / "run.json").read_text() == text
    later = json.loads(text) | {"later": {"a": [1, None]}}
    later["identity"]["method"] |= {"model_dump": 3, "__class__": None, "copy": [1]}
    later = sealed(later).as_json()
    assert read(tmp_path, later).as_json() == later
    assert Run.model_validate(run.as_json()) == run
    assert read_run(tmp_path / "none.json") is None


def test_an_entry_of_another_type_or_size_is_named(tmp_path):
    for place, value in (
        ("identity.method", None),
        ("identity.method.name", ["x"]),
        ("identity.training", {"max_epochs": 1, "batch_size": "x", "processes": 1}),
        ("cost.peak_mib", 1e15),
        ("loaded", {"origin": "another run", "training": {"settings": {"batch_size": "x"}}}),
    ):
        holder = values = some_run().as_json()
        *groups, last = place.split(".")
        for name in groups:
            holder = holder[name]
        holder[last] = value
        with pytest.raises(RecordError, match=place.replace(".", r"\.")) as refusal:
            read(tmp_path, values)
        assert "\n" not in str(refusal.value)


def test_what_follows_from_the_entries_of_a_run():
    run = read_run(WHOLE)
    assert run.weights.origin == TRAINED_HERE and run.checkpoint_sha256 == run.made.checkpoint_sha256
    assert run.weights.training.settings == run.identity.training and run.weights.training.episodes == 5
    assert not run.handed_in and some_run().weights.origin == UNTRAINED


def test_the_batch_of_several_processes_is_that_of_all():
    def batch(**settings):
        weights = some_run({"training": {"max_epochs": 1, **settings}}).weights
        return weights.training.effective_batch

    assert batch() is None and batch(batch_size=6) == 6
    assert batch(batch_size=6, processes=2, accumulate_grad_batches=None) == 12
    assert batch(batch_size=6, processes=2, accumulate_grad_batches=4) == 48
