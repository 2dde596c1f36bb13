"""A board of forged bundles shows none of them, and says of each why."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from fsbench.cli.main import main
from fsbench.records.counts import hashes
from fsbench.records.record import read_record
from fsbench.records.run import Run
from fsbench.runner.exchange.bundle import LISTING
from tests.fsbench.pages.board.conftest import finished
from tests.fsbench.runner.exchange.test_bundle import altered, entry, recount
from tests.fsbench.runs import rewrite

KNOWN = {"files_sha256": "0" * 64}
"""Files that runs on one copy of the data have in common."""


impossible_counts = recount(lambda frame: frame.with_columns(tp=pl.col("gt") + 1000))
"""More right pixels than there are, with the hashes and the scores that follow."""


def with_smaller_truth(frame: pl.DataFrame) -> pl.DataFrame:
    """Return counts that keep every identity: of the truth there is what was predicted, in images of the same size."""
    found, zero = pl.min_horizontal("gt", "pred"), pl.lit(0, pl.Float32)
    return frame.with_columns(gt=found, tp=found, present=found > 0, rom=zero, rum=zero)


smaller_truth = recount(with_smaller_truth)


def edit_scores(contents: dict[str, bytes]) -> None:
    """Make every presence score right, in the table alone."""
    name = entry(contents, "episodes.parquet")
    file = Path("edited.parquet")
    pl.read_parquet(contents[name]).with_columns(score=pl.col("present").cast(pl.Float32)).write_parquet(file)
    contents[name] = file.read_bytes()


def unnamed_class(contents: dict[str, bytes]) -> None:
    """A manifest about a class without a name, with all hashes that follow."""
    name = entry(contents, "manifest.jsonl")
    header, *rows, end = contents[name].decode().splitlines()
    values = json.loads(header)
    values["class_ids"].append(32768)
    text = "\n".join([json.dumps(values, separators=(",", ":")), *rows]) + "\n"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    contents[name] = (text + json.dumps(json.loads(end) | {"sha256": sha256}) + "\n").encode()
    run = json.loads(contents[entry(contents, "run.json")])
    run["identity"]["manifest_sha256"] = sha256
    old = run["id"]
    run["id"] = f"{old.rpartition('-')[0]}-{Run.model_validate(run).identity.digits}"
    contents[entry(contents, "run.json")] = json.dumps(run).encode()
    contents[LISTING] = contents[LISTING].replace(old.encode(), run["id"].encode())
    for file in ("run.json", "episodes.parquet", "manifest.jsonl"):
        contents[f"{run['id']}/{file}"] = contents.pop(f"{old}/{file}")


def contradictory_card(contents: dict[str, bytes]) -> None:
    """A card of nothing trained, of a method whose records name a training."""
    listing = json.loads(contents[LISTING])
    for card in listing["cards"].values():
        card |= {"checkpoint_choice": "nothing trained", "novel_pixels": "no"}
    contents[LISTING] = json.dumps(listing).encode()


BUNDLES: dict[str, tuple[Callable, str]] = {
    "counts": (impossible_counts, r"episode \d+: \d+ right pixels of \d+ predicted ones"),
    "truth": (smaller_truth, "its truth is another than that of 0-honest.fsb"),
    "scores": (edit_scores, "the column score does not hold the values that run.json names"),
    "manifest": (unnamed_class, "the class 32768 has no name"),
    "card": (contradictory_card, "contradicts its record: novel pixels is no by the card and unlabelled by the record"),
}
"""Forged bundle -> what is changed in it after it was written, and why it is refused."""


@pytest.mark.slow(3)
def test_a_board_with_five_forged_bundles_refuses_five(make, hand_in, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trained = {"origin": "trained here", "training": {"settings": {"validation": "base"}}}
    runs = {name: rewrite(make(name, 0, 2, wrong=3), KNOWN, weights=trained) for name in ("honest", *BUNDLES)}
    card = {"novel_pixels": "unlabelled", "checkpoint_choice": "base classes"}
    hand_in("0-honest", [finished(runs["honest"])], **card)
    for name, (change, _) in BUNDLES.items():
        altered(hand_in(name, [finished(runs[name])], **card), change, relist=True)

    assert main(["report", "--board", "bundles", "--out", "site", "--strict"]) == 1
    shown = capsys.readouterr()
    assert "1 row of 1 bundle" in shown.out and "5 of the bundles were refused" in shown.err
    lines = re.findall(r"^(\S+)\.fsb: refused: (.*)$", shown.err, re.MULTILINE)
    refused = dict(lines)
    assert len(lines) == 5 and refused.keys() == BUNDLES.keys()
    for name, (_, reason) in BUNDLES.items():
        assert re.search(reason, refused[name]), (name, refused[name])
        assert len(refused[name]) <= 500
        is_sound_alone = name == "truth"  # it takes another bundle to see it
        assert main(["verify", f"bundles/{name}.fsb"]) == (0 if is_sound_alone else 1)
        assert is_sound_alone or re.search(reason, capsys.readouterr().out)
    page = Path("site/index.html").read_text()
    assert "honest" in page and not any(f">{name}<" in page for name in BUNDLES)
    assert "Refused" in Path("site/bundles.html").read_text()


def test_runs_of_one_bundle_have_one_truth(make, hand_in, tmp_path, capsys):
    first, second = (rewrite(make(name, 0, 2), KNOWN) for name in ("a", "b"))
    file = hand_in("two", [finished(first), finished(second)])
    assert main(["verify", str(file)]) == 0
    frame = with_smaller_truth(second.every_episode)
    frame.write_parquet(second.path / "episodes.parquet")
    file = hand_in("other", [finished(first), finished(read_record(rewrite(second, **hashes(frame)).path))])
    capsys.readouterr()
    assert main(["verify", str(file)]) == 1
    out = capsys.readouterr().out
    assert out.count("its truth differs from that of the bundle's other runs") == 2
