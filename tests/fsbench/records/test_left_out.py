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


def training(**settings: object) -> dict[str, object]:
    return {"origin": "another run", "training": {"settings": settings}}


DEEP = json.loads('{"a":' * 600 + "1" + "}" * 600)
RUNS = {
    ("identity.method", "a method that is null"): (None, "identity.method is None"),
    ("identity.method.name", "a list"): (["x"], "identity.method.name"),
    ("identity.method.deep", "many levels"): (DEEP, "more than 50 levels"),
    ("identity.backbone", "no weights"): ({"name": "b"}, "backbone.weights"),
    ("identity.seed", "words"): ("one", "identity.seed is 'one'"),
    ("identity.training", "a batch in words"): (
        {"max_epochs": 1, "batch_size": "x", "processes": 1}, "identity.training.batch_size is 'x'",
    ),
    ("cost.peak_mib", "words"): ("much", "cost.peak_mib is 'much'"),
    ("cost.peak_mib", "infinite"): (float("inf"), "cost.peak_mib"),
    ("cost.peak_mib", "more than there is"): (1e15, "cost.peak_mib is 1000000000000000.0"),
    ("cost.evaluation_seconds", "30,000 years"): (
        1e12, "cost.evaluation_seconds is 1000000000000.0, expected less than or equal to 1000000000",
    ),
    ("made", "30,000 years"): ({"training_seconds": 1e12}, "made.training_seconds is 1000000000000.0"),
    ("scores", "words"): ({"mIoU": "good"}, "scores.mIoU is 'good'"),
    ("remarks", "no list"): (3, "remarks is 3"),
    ("weights", "a number"): (5, "weights is 5"),
    ("weights", "no origin"): ({}, "lacks weights.origin"),
    ("weights", "a batch in words"): (training(batch_size="x"), "weights.training.settings.batch_size is 'x'"),
}  # fmt: skip
"""Entry of a run.json, and what is wrong with its value -> the value, and words of the refusal."""

HEADERS = {
    ("fold", "words"): ("first", "fold is 'first'"),
    ("way", "true"): (True, "way is True"),
    ("class_ids", "no numbers"): (["1"], "class_ids[0] is '1'"),
    ("class_ids", "a class without a name"): ([1, 2, 3, 32768], "the class 32768 has no name"),
    ("protocol", "unknown"): ("made-up", "made-up"),
    ("protocol", "a path"): ("/own", "unknown protocol"),
    ("protocol", "a long name"): ("a" * 300, "unknown protocol"),
}
"""(entry of a manifest's header, what is wrong with it) -> its value, and words of the refusal."""

DAMAGE = {
    "a run that is a list": (
        lambda r: (r.path / "run.json").write_text("[1]"), "record of fsbench: the whole is [1], expected a mapping",
    ),
    "a run.json that was cut off": (lambda r: (r.path / "run.json").write_text("{"), "run.json is no JSON"),
    "nested JSON": (lambda r: (r.path / "run.json").write_text("[" * 100_000), "run.json"),
    "a column too few": (lambda r: set_counts(r, r.every_episode.drop("tp")), "has no column tp"),
    "gaps": (lambda r: set_counts(r, r.every_episode.with_columns(tp=pl.lit(None, pl.Int64))), "tp has gaps"),
    "no counts": (lambda r: (r.path / "episodes.parquet").unlink(), "episodes.parquet cannot be used (it is missing)"),
}  # fmt: skip
DAMAGE |= {
    f"{place}: {name}": (lambda r, place=place, value=value: set_run(r, *place.split("."), value=value), words)
    for (place, name), (value, words) in RUNS.items()
}
DAMAGE |= {
    f"{place}: {name}": (lambda r, place=place, value=value: set_header(r, **{place: value}), words)
    for (place, name), (value, words) in HEADERS.items()
}
"""How a record is damaged, and words of the line that says so."""


FEW = (
    "identity.method: a method that is null", "fold: words", "a column too few", "gaps", "a run.json that was cut off",
)  # fmt: skip
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
        assert main([verb, *(str(paths[name]) for name in FEW), *options]) == 2 and capsys.readouterr().out == ""


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
        with pytest.raises(RecordError, match=rf"line 2 of .* is no episode \({next(iter(wrong))}"):
            read_manifest(tmp_path / "m.jsonl")
