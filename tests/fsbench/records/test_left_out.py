"""A run that does not fit is left out with a line that says why, and never hides the others."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.data.episodes.manifest import read_manifest
from fsbench.records.counts import check_rows, counts_sha256
from fsbench.records.record import Record
from fsbench.records.tables import count_schema, read_parquet, write_parquet
from tests.fsbench.runs import rewrite


def set_run(record: Record, *place: str, value: object) -> None:
    """Write another value into the run.json of `record`."""
    run = json.loads((record.path / "run.json").read_text())
    inner = run
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    (record.path / "run.json").write_text(json.dumps(run))


def set_counts(record: Record, frame: pl.DataFrame) -> None:
    """Write another table of counts, with its hash where it has one."""
    frame.write_parquet(record.path / "episodes.parquet")
    with suppress(pl.exceptions.PolarsError, TypeError, ValueError), np.errstate(invalid="ignore"):
        set_run(record, "counts_sha256", value=counts_sha256(frame))


def set_header(record: Record, **values: object) -> None:
    """Write another header into the manifest, with all hashes made anew."""
    rewrite(record, header=values)


DAMAGE = {
    "a method that is null": (lambda r: set_run(r, "identity", "method", value=None), "identity.method is None"),
    "a name that is a list": (lambda r: set_run(r, "identity", "method", "name", value=["x"]), "identity.method.name"),
    "a backbone without weights": (
        lambda r: set_run(r, "identity", "backbone", value={"name": "b"}),
        "backbone.weights",
    ),
    "costs in words": (lambda r: set_run(r, "cost", "peak_mib", value="much"), "cost.peak_mib is 'much'"),
    "a cost that is infinite": (lambda r: set_run(r, "cost", "peak_mib", value=float("inf")), "cost.peak_mib"),
    "30,000 years": (
        lambda r: set_run(r, "cost", "evaluation_seconds", value=1e12),
        "cost.evaluation_seconds is 1000000000000.0, expected less than or equal to 1000000000",
    ),
    "a training of 30,000 years": (
        lambda r: set_run(r, "made", value={"training_seconds": 1e12}),
        "made.training_seconds is 1000000000000.0",
    ),
    "more memory than there is": (
        lambda r: set_run(r, "cost", "peak_mib", value=1e15),
        "cost.peak_mib is 1000000000000000.0",
    ),
    "a seed in words": (lambda r: set_run(r, "identity", "seed", value="one"), "identity.seed is 'one'"),
    "a score in words": (lambda r: set_run(r, "scores", value={"mIoU": "good"}), "scores.mIoU is 'good'"),
    "remarks that are no list": (lambda r: set_run(r, "remarks", value=3), "remarks is 3"),
    "a run that is a list": (
        lambda r: (r.path / "run.json").write_text("[1]"),
        "record of fsbench: the whole is [1], expected a mapping",
    ),
    "a run.json that was cut off": (lambda r: (r.path / "run.json").write_text("{"), "run.json is no JSON"),
    "counts that are gone": (
        lambda r: (r.path / "episodes.parquet").unlink(),
        "episodes.parquet cannot be used (it is missing)",
    ),
    "nested JSON": (lambda r: (r.path / "run.json").write_text("[" * 100_000), "run.json"),
    "a fold in words": (lambda r: set_header(r, fold="first"), "fold is 'first'"),
    "a way that is true": (lambda r: set_header(r, way=True), "way is True"),
    "classes that are no numbers": (lambda r: set_header(r, class_ids=["1"]), "class_ids[0] is '1'"),
    "an unknown protocol": (lambda r: set_header(r, protocol="made-up"), "made-up"),
    "a protocol that is a path": (lambda r: set_header(r, protocol=str(r.path / "own")), "unknown protocol"),
    "a protocol with a long name": (lambda r: set_header(r, protocol="a" * 300), "unknown protocol"),
    "a column too few": (lambda r: set_counts(r, r.every_episode.drop("tp")), "has no column tp"),
    "gaps": (lambda r: set_counts(r, r.every_episode.with_columns(tp=pl.lit(None, pl.Int64))), "tp has gaps"),
    "an identity of many levels": (
        lambda r: set_run(r, "identity", "method", "deep", value=json.loads('{"a":' * 600 + "1" + "}" * 600)),
        "more than 50 levels",
    ),
    "weights that are a number": (lambda r: set_run(r, "weights", value=5), "weights is 5"),
    "weights of no origin": (lambda r: set_run(r, "weights", value={}), "lacks weights.origin"),
    "a batch in words": (
        lambda r: set_run(r, "identity", "training", value={"max_epochs": 1, "batch_size": "x", "processes": 1}),
        "identity.training.batch_size is 'x'",
    ),
    "a training's batch in words": (
        lambda r: set_run(r, "weights", value={"origin": "o", "training": {"settings": {"batch_size": "x"}}}),
        "weights.training.settings.batch_size is 'x'",
    ),
    "another image": (
        lambda r: set_counts(r, r.every_episode.with_columns(query=pl.lit("q"))),
        "row 0 is episode 0, slot 0, class_id 0, query 'q'; its manifest names episode 0, slot 0, class_id 0, query",
    ),
    "five of its episodes": (
        lambda r: set_counts(r, r.every_episode.filter(pl.col("episode") < 5)),
        "5 of 24 episodes",
    ),
    "no parquet": (
        lambda r: (r.path / "episodes.parquet").write_bytes(b"PAR1\0\0\0\0PAR1"),
        "episodes.parquet",
    ),
}


FEW = ("a method that is null", "a fold in words", "a column too few", "gaps", "a run.json that was cut off")
"""Damages that further commands are tried with, which read by the same function."""


def test_runs_that_do_not_fit_are_left_out_and_said(make, capsys):
    sound = [make(method, 0).path for method in ("good", "fair")]
    paths = {}
    for seed, (name, (damage, _)) in enumerate(DAMAGE.items()):
        record = make("bad", 0, seed=seed)
        record.every_episode  # noqa: B018  (read before it is damaged)
        damage(record)
        paths[name] = record.path
    for command, names in (("table", DAMAGE), ("table --protocol hsnet", FEW), ("compare", FEW)):
        verb, *options = command.split()
        status = main([verb, *map(str, [*sound, *(paths[name] for name in names)]), *options])
        out, err = capsys.readouterr()
        lines = err.splitlines()
        assert status == 1 and "good" in out and "fair" in out and len(lines) == len(names)
        for name in names:
            out = out.replace(str(paths[name]), "")
            (line,) = (line for line in lines if str(paths[name]) in line)
            assert line.startswith("fsbench: error: left out: ") and DAMAGE[name][1] in line, (command, name)
        assert "bad" not in out
        assert main([verb, *(str(paths[name]) for name in names), *options]) == 2 and capsys.readouterr().out == ""


def test_a_fully_augmented_episode_may_have_every_class_as_a_way(make):
    """Such an episode has a way for each class that its support images show, whatever number was asked for."""
    record = make("good", 0)
    way = record.every_episode.filter(pl.col("slot") == 1)
    ways = [way.with_columns(slot=pl.lit(n, pl.Int16), class_id=pl.lit(n, pl.Int16)) for n in (1, 2, 3)]
    frame = pl.concat([record.every_episode.filter(pl.col("slot") == 0), *ways])
    episodes = tuple(replace(episode, classes=(1, 2, 3)) for episode in record.manifest.episodes)

    file = record.path / "episodes.parquet"
    frame = frame.sort("episode", "slot").select(record.every_episode.columns)
    write_parquet(file, frame)

    def check(setting: str) -> None:
        entries = record.manifest.entries | {"setting": setting, "class_ids": [1, 2, 3]}
        manifest = replace(record.manifest, entries=entries, episodes=episodes)
        check_rows(read_parquet(file, count_schema(manifest.header)), manifest, file)

    check("fully_augmented")
    for setting in ("original", "partially_augmented"):
        with pytest.raises(RecordError, match="the column slot holds 3, expected 0 to 1"):
            check(setting)


def test_episodes_of_a_manifest_have_types(make, tmp_path):
    path: Path = make("good", 0).path / "manifest.jsonl"
    first, second, *rest = path.read_text().splitlines()
    for wrong in ({"query": 3}, {"supports": "x"}, {"index": "0"}, {"classes": [1.5]}):
        altered = json.dumps(json.loads(second) | wrong)
        (tmp_path / "m.jsonl").write_text("\n".join([first, altered, *rest]) + "\n")
        with pytest.raises(RecordError, match=rf"is no manifest \(0\.{next(iter(wrong))}"):
            read_manifest(tmp_path / "m.jsonl")
