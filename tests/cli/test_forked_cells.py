"""Runs of `fsbench bench` that are forks of one process leave the records of runs that are started from nothing."""

import json
from pathlib import Path

import pytest

from fsbench.engine.machine.fork_server import can_fork
from fsbench.records.record import Record, find_records

pytestmark = pytest.mark.skipif(not can_fork(), reason="cells are not forked here")
TELLS = "--trainer.callbacks+=tests.cli.pausing.TellProcess"


def facts(record: Record) -> dict:
    """Return the facts that must not depend on how a process began: all but times, memory and the folder of runs.

    A checkpoint names that folder, so its hash is another.
    """
    differs = ("cost", "provenance", "made", "checkpoint_sha256")
    run = {key: value for key, value in record.run.items() if key not in differs}
    return json.loads(json.dumps(run).replace(str(record.path.parent), "RUNS"))


@pytest.mark.parametrize("method", ["prototype", pytest.param("emat", marks=pytest.mark.slow)])
def test_forked_runs_leave_the_same_records(warm, run_arguments, bench_arguments, tmp_path, method):
    tells = [TELLS, f"--trainer.callbacks.file={tmp_path / 'told'}"]  # of the settings of a training, too
    forked = warm(*bench_arguments(method, "forked", *tells))
    assert forked.returncode == 0, forked.stderr
    told = json.loads(Path(tmp_path / "told").read_text())
    alone = warm(*run_arguments(method, "alone", *tells))
    assert alone.returncode == 0, alone.stderr
    (ours,), (theirs,) = (find_records(tmp_path / name) for name in ("forked", "alone"))
    assert facts(ours) == facts(theirs) and ours.episodes.equals(theirs.episodes)
    assert ours.path.name == theirs.path.name
    files = {path.name for path in theirs.path.iterdir()}
    assert {path.name for path in ours.path.iterdir()} == files
    for name in files & {"predictions.parquet", "predictions.png", "manifest.jsonl"}:
        assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), name
    assert told["forked"] and told["frozen"] > 100_000 and told["threads_at_first"] == 1
    assert 0.5 < ours.run["cost"]["peak_mib"] / theirs.run["cost"]["peak_mib"] < 1.5  # its own, and not that of all
