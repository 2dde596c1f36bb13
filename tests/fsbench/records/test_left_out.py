"""A run that does not fit is left out with a line that says why, and never hides the others."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.data.episodes.manifest import read_manifest
from fsbench.records.record import Record
from tests.fsbench.runs import reseal, rewrite


def counts(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Record], None]:
    """Change the table of counts, and seal the record again."""

    def damage(record: Record) -> None:
        change(record.every_episode).write_parquet(record.path / "episodes.parquet")
        reseal(record)

    return damage


DAMAGE: dict[str, tuple[Callable[[Record], object], str]] = {
    "a run that is a list": (lambda r: (r.path / "run.json").write_text("[1]"), "the whole is [1], expected a mapping"),
    "nested JSON": (lambda r: (r.path / "run.json").write_text("[" * 100_000), "run.json"),
    "a column too few": (counts(lambda frame: frame.drop("tp")), "has no column tp"),
    "gaps": (counts(lambda frame: frame.with_columns(tp=pl.lit(None, pl.Int64))), "tp has gaps"),
    "a fold in words": (lambda r: rewrite(r, header={"fold": "first"}), "fold is 'first'"),
    "an unknown protocol": (lambda r: rewrite(r, header={"protocol": "made-up"}), "made-up"),
    "a protocol that is a path": (lambda r: rewrite(r, header={"protocol": "/own"}), "unknown protocol"),
}
"""How a record is damaged, and words of the line that says so."""


def test_runs_that_do_not_fit_are_left_out_and_said(make, capsys):
    sound = [make(method, 0).path for method in ("good", "fair")]
    paths = {}
    for seed, (name, (damage, _)) in enumerate(DAMAGE.items()):
        record = make("bad", 0, seed=seed)
        damage(record)
        paths[name] = record.path
    for command in ("table", "table --protocol hsnet", "compare"):
        verb, *options = command.split()
        status = main([verb, *map(str, [*sound, *paths.values()]), *options])
        out, err = capsys.readouterr()
        lines = err.splitlines()
        assert status == 1 and "good" in out and "fair" in out and len(lines) == len(paths)
        for name, path in paths.items():
            out = out.replace(str(path), "")
            (line,) = (line for line in lines if str(path) in line)
            assert line.startswith("fsbench: error: left out: ") and DAMAGE[name][1] in line, (command, name)
        assert "bad" not in out
        assert main([verb, *map(str, paths.values()), *options]) == 2 and capsys.readouterr().out == ""


def test_episodes_of_a_manifest_have_types(make, tmp_path):
    path: Path = make("good", 0).path / "manifest.jsonl"
    first, second, *rest = path.read_text().splitlines()
    for wrong in ({"query": 3}, {"supports": "x"}, {"index": "0"}, {"classes": [1.5]}):
        altered = json.dumps(json.loads(second) | wrong)
        (tmp_path / "m.jsonl").write_text("\n".join([first, altered, *rest]) + "\n")
        with pytest.raises(RecordError, match=rf"line 2 of .* is no episode \({next(iter(wrong))}"):
            read_manifest(tmp_path / "m.jsonl")
