"""Runs of `fsbench bench` leave the records of runs that `fsbench bench --config` is called for."""

import json

import pytest

from fsbench.records.record import Record, find_records


def facts(record: Record) -> dict:
    """Return the facts that must not depend on who started a run: all but times, memory and the folder of runs.

    A checkpoint names that folder, so its hash is another.
    """
    differs = ("cost", "provenance", "made", "checkpoint_sha256")
    run = {key: value for key, value in record.run.as_json().items() if key not in differs}
    return json.loads(json.dumps(run).replace(str(record.path.parent), "RUNS"))


@pytest.mark.slow(20)
def test_runs_of_bench_leave_the_same_records(warm, run_arguments, bench_arguments, tmp_path):
    bench = warm(*bench_arguments("emat", "bench"))
    assert bench.returncode == 0, bench.stderr
    alone = warm(*run_arguments("emat", "alone"))
    assert alone.returncode == 0, alone.stderr
    (ours,), (theirs,) = (find_records(tmp_path / name) for name in ("bench", "alone"))
    assert facts(ours) == facts(theirs) and ours.episodes.equals(theirs.episodes)
    assert ours.path.name == theirs.path.name
    files = {path.name for path in theirs.path.iterdir()}
    assert {path.name for path in ours.path.iterdir()} == files
    for name in files & {"predictions.parquet", "predictions.png", "manifest.jsonl"}:
        assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), name
