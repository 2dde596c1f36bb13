"""A run that does not fit is left out with a line that says why, and never hides the others."""

from collections.abc import Callable

from fsbench.cli.main import main
from fsbench.records.record import Record
from tests.fsbench.runs import reseal, rewrite


def drop_hits(record: Record) -> None:
    """Leave out a column of the counts, and seal the record again."""
    record.every_episode.drop("tp").write_parquet(record.path / "episodes.parquet")
    reseal(record)


DAMAGE: dict[str, tuple[Callable[[Record], object], str]] = {
    "a run that is a list": (lambda r: (r.path / "run.json").write_text("[1]"), "the whole is [1], expected a mapping"),
    "nested JSON": (lambda r: (r.path / "run.json").write_text("[" * 100_000), "run.json"),
    "a column too few": (drop_hits, "has no column tp"),
    "a fold in words": (lambda r: rewrite(r, header={"fold": "first"}), "fold is 'first'"),
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
    for verb in ("table", "compare"):
        status = main([verb, *map(str, [*sound, *paths.values()])])
        out, err = capsys.readouterr()
        lines = err.splitlines()
        assert status == 1 and "good" in out and "fair" in out and len(lines) == len(paths)
        for name, path in paths.items():
            out = out.replace(str(path), "")
            (line,) = (line for line in lines if str(path) in line)
            assert line.startswith("fsbench: error: left out: ") and DAMAGE[name][1] in line, (verb, name)
        assert "bad" not in out
        assert main([verb, *map(str, paths.values())]) == 2 and capsys.readouterr().out == ""
