"""A run.json is read with types and given back as it was."""

import json
from pathlib import Path

import pytest

from fsbench.base.errors import RecordError
from fsbench.records.run import TRAINED_HERE, UNTRAINED, Run, read_run, sealed, write_run
from tests.fsbench.runs import ENTRIES, some_run

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


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("identity.method", None), ("identity.method.name", ["x"]), ("identity.backbone", {"name": "b"}),
        ("identity.seed", "one"), ("identity.training", {"max_epochs": 1, "batch_size": "x", "processes": 1}),
        ("cost.peak_mib", "much"), ("cost.peak_mib", 1e15), ("made", {"training_seconds": 1e12}), ("remarks", 3),
        ("loaded", {"origin": "another run", "training": {"settings": {"batch_size": "x"}}}),
    ],
)  # fmt: skip
def test_an_entry_of_another_type_or_size_is_named(tmp_path, place, value):
    values = some_run().as_json()
    *groups, last = place.split(".")
    holder = values
    for name in groups:
        holder = holder[name]
    holder[last] = value
    with pytest.raises(RecordError, match=place.replace(".", r"\.")) as refusal:
        read(tmp_path, values)
    assert "\n" not in str(refusal.value)


def test_the_parts_of_a_run_have_types():
    run = read_run(WHOLE)
    assert run.identity.method.name == "emat" and run.identity.method.as_json()["support_side"] == 8
    assert run.identity.backbone.cache_dtype == "float32" and run.identity.support_annotation == "mask"
    assert run.weights.origin == TRAINED_HERE and run.weights.training is not None
    assert run.weights.training.settings == run.identity.training and run.weights.training.episodes == 5
    assert run.checkpoint_sha256 == run.made.checkpoint_sha256 and not run.handed_in
    assert run.weights.training.effective_batch == run.weights.training.settings["batch_size"]
    assert run.made.epochs == 2 and run.cost.peak_mib > 0 and run.provenance.processes == 1


def test_what_a_run_need_not_have():
    run = some_run()
    assert (run.loaded, run.checkpoint_variant, run.remarks, run.attention) == (None, None, [], "")
    assert run.made.unordered_kernels == [] and run.provenance.device == ""
    assert run.as_json() == ENTRIES | {"files": {}, "seal": run.seal} and run.weights.origin == UNTRAINED


def test_the_batch_of_several_processes_is_that_of_all():
    def batch(**settings):
        weights = some_run({"training": {"max_epochs": 1, **settings}}).weights
        return weights.training.effective_batch

    assert batch() is None and batch(batch_size=6) == 6
    assert batch(batch_size=6, processes=2) == 12
    assert batch(batch_size=6, processes=2, accumulate_grad_batches=None) == 12
    assert batch(batch_size=6, processes=2, accumulate_grad_batches=4) == 48
