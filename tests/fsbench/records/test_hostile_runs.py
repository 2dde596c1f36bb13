"""Whatever stands in a run's files, whoever reads it gets lines that say what is wrong: never the last net's."""

import hashlib
import json
import os
import random
import re
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fsbench.cli.main import main
from fsbench.records.counts import counts_sha256
from fsbench.runner.exchange.bundle import LISTING, RUN_FILES, write_bundle
from tests.fsbench.runner.exchange.test_bundle import cards_of, with_scores

COUNT, SEED = int(os.environ.get("FSBENCH_HOSTILE_RUNS", "3")), os.environ.get("FSBENCH_HOSTILE_SEED", "")
"""Number of cases of each kind, and what else they are drawn from; with a seed more commands read each run."""

NET = re.compile("FSBENCH_TRACEBACK|Traceback|it cannot be (verified|shown)|is no record that can be shown")
"""Words of lines that stand for an error nobody thought of."""

VALUES = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, 1e308, float("nan"), float("inf"), "", "x", "a" * 2000, "\ud800",
    "\x00", "../..", "/etc/passwd", "fold\n1", [], {}, [[]], [None], ["x"], {"": None}, [1, "1"], [{}], [2**70],
    {"1": 1},
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the place of every value in dicts and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, each in inner for place in places(each, (*path, key))]


def mutated(value: Any, rng: random.Random) -> Any:
    """Return plain values with one that is another, gone, or there under another name."""
    value = json.loads(json.dumps(value))
    *path, last = rng.choice(places(value))
    holder = value
    for key in path:
        holder = holder[key]
    what = rng.randrange(10)
    if what == 0:
        del holder[last]
    elif what == 1 and isinstance(holder, dict):
        holder[str(rng.choice(VALUES))] = holder.pop(last)
    else:
        holder[last] = rng.choice(VALUES)
    return value


def mutate_run(folder: Path, rng: random.Random) -> None:
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(mutated(run, rng)))


def edit_run(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the run.json in place."""
    run = json.loads((folder / "run.json").read_text())
    edit(run)
    (folder / "run.json").write_text(json.dumps(run))


def mutate_manifest(folder: Path, rng: random.Random) -> None:
    """Change the header or an episode, with the hashes that follow."""
    *lines, end = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    place = 0 if rng.random() < 0.6 else rng.randrange(len(lines))
    lines[place] = rng.choice(VALUES) if rng.random() < 0.1 else mutated(lines[place], rng)
    if rng.random() < 0.1:
        del lines[rng.randrange(len(lines))]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    end = mutated(end, rng) if rng.random() < 0.1 else end | {"sha256": sha256}
    (folder / "manifest.jsonl").write_text(text + json.dumps(end) + "\n")
    edit_run(folder, lambda run: run["identity"].update(manifest_sha256=sha256))


SCALARS = (0, -1, 2**31, 2**62, float("nan"), float("inf"), "x", True)
COLUMNS: tuple[Callable[[str, int, random.Random], pl.Expr], ...] = (
    lambda name, row, rng: pl.lit(None),
    lambda name, row, rng: pl.when(pl.int_range(pl.len()) == row).then(None).otherwise(pl.col(name)),
    lambda name, row, rng: pl.lit(1).cast(rng.choice([pl.Boolean, pl.Float64, pl.Int8, pl.Int64])),
    lambda name, row, rng: pl.struct(name),
    lambda name, row, rng: pl.concat_list(name),
    lambda name, row, rng: pl.lit(rng.choice(SCALARS)),
)
"""Replacements for the values of a column, of another type each."""


def mutate_table(frame: pl.DataFrame, rng: random.Random) -> pl.DataFrame:
    """Change a column or the rows of a table."""
    name, row, kind = rng.choice(frame.columns), rng.randrange(max(frame.height, 1)), rng.randrange(9)
    if kind == 0:
        return frame.drop(name)
    if kind == 1:
        return frame.filter(pl.int_range(pl.len()) != row)
    if kind == 2:
        return pl.concat([frame, frame[row : row + 1]])
    return frame.with_columns(COLUMNS[kind - 3](name, row, rng).alias(name))


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change, remove or repeat some bytes."""
    start, length = rng.randrange(len(content)), rng.choice([1, 2, 8, 100])
    part = rng.choice([b"", rng.randbytes(length), content[start : start + length] * 2, b"\xff" * length])
    return content[:start] + part + content[start + length :]


def mutate_counts(folder: Path, rng: random.Random) -> None:
    """Change the counts, with the hash that follows where there is one."""
    file = folder / "episodes.parquet"
    if rng.random() < 0.2:
        file.write_bytes(mutate_bytes(file.read_bytes(), rng))
        return
    frame = mutate_table(pl.read_parquet(file), rng)
    frame.write_parquet(file)
    with suppress(Exception):  # no hash of such a table
        sha256 = counts_sha256(frame)
        edit_run(folder, lambda run: run.update(counts_sha256=sha256))


def mutate_predictions(folder: Path, rng: random.Random) -> None:
    """Change the stored predictions, with the hash that follows."""
    file = folder / "predictions.parquet"
    if rng.random() < 0.2:
        file.write_bytes(mutate_bytes(file.read_bytes(), rng))
    else:
        mutate_table(pl.read_parquet(file), rng).write_parquet(file)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    edit_run(folder, lambda run: run["predictions"].update(sha256=sha256))


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "run": mutate_run, "manifest": mutate_manifest, "counts": mutate_counts, "predictions": mutate_predictions,
}  # fmt: skip


def put_into(bundle: Path, folder: Path) -> None:
    """Replace the runs of a bundle by one, whose files are as they are."""
    names = [name for name in RUN_FILES if (folder / name).is_file()]
    with zipfile.ZipFile(bundle) as archive:
        listing = json.loads(archive.read(LISTING))
    listing["runs"] = {folder.name: {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}}
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr(LISTING, json.dumps(listing))
        for name in names:
            archive.write(folder / name, f"{folder.name}/{name}")


def commands_of(number: int, runs: list[str], folder: Path) -> list[list[str]]:
    """Return the commands that read the case `number`."""
    commands = [["table", *runs], ["verify", str(folder / "bundles/bad.fsb")]]
    if number % 3 == 0:
        commands += [["compare", *runs], ["table", *runs, "--all", "--format", "json"]]
        commands.append(["report", "--board", str(folder / "bundles"), "--out", str(folder / "site")])
    if number % 6 == 0:
        commands.append(["table", *runs, "--protocol", "pfenet"])
    if SEED and number % 3 == 0:
        commands.append(["report", *runs, "--out", str(folder / "report")])
        commands.append(["explain", *runs, "--episode", "1", "--out", str(folder / "explained")])
        commands.append(["explain", runs[0], "--figure", str(folder / "f.png")])
    return commands


@pytest.mark.slow(5)
@pytest.mark.parametrize("kind", KINDS)
def test_no_file_of_a_run_ends_in_the_last_net(make, tmp_path, capsys, kind):
    rng = random.Random(kind + SEED)
    first, second = (with_scores(make(name, 0, 2, keep="soft")) for name in ("m", "n"))
    kept, bundle = tmp_path / "kept", tmp_path / "bundles/bad.fsb"
    bundle.parent.mkdir()
    write_bundle([first], cards_of([first]), "CC-BY-4.0", "fsbench 1", bundle)
    shutil.copytree(first.path, kept)
    mishandled = []
    for number in range(COUNT):
        shutil.rmtree(first.path)
        shutil.copytree(kept, first.path)
        KINDS[kind](first.path, rng)
        put_into(bundle, first.path)
        for command in commands_of(number, [str(first.path), str(second.path)], tmp_path):
            status = main(command)
            out, err = capsys.readouterr()
            log = (tmp_path / "site/board.log").read_text() if command[1] == "--board" else ""
            mishandled += [(number, command[0], line) for line in (out + err + log).splitlines() if NET.search(line)]
            if command[:2] == ["table", str(first.path)] and "json" not in command:
                assert status in (0, 1) and "n " in out, (number, out, err)  # the sound run is shown
    assert not mishandled
