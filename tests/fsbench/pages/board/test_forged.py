"""A board of forged bundles shows none of them, and says of each why."""

import re
from pathlib import Path

import polars as pl
import pytest

from fsbench.cli.main import main
from fsbench.records.counts import hashes
from fsbench.records.record import read_record
from tests.fsbench.pages.board.conftest import finished
from tests.fsbench.runner.exchange.test_bundle import altered, recount
from tests.fsbench.runs import rewrite

KNOWN = {"files_sha256": "0" * 64}
"""Files that runs on one copy of the data have in common."""


def with_smaller_truth(frame: pl.DataFrame) -> pl.DataFrame:
    """Return counts that keep every identity: of the truth there is what was predicted, in images of the same size."""
    found, zero = pl.min_horizontal("gt", "pred"), pl.lit(0, pl.Float32)
    return frame.with_columns(gt=found, tp=found, present=found > 0, rom=zero, rum=zero)


def impossible_counts(frame: pl.DataFrame) -> pl.DataFrame:
    """Return counts with more right pixels than there are."""
    return frame.with_columns(tp=pl.col("gt") + 1000)


FORGED = {
    "counts": (impossible_counts, r"episode \d+: \d+ right pixels of \d+ predicted ones"),
    "truth": (with_smaller_truth, "its truth is another than that of 0-honest.fsb"),
}
"""Bundle -> its other counts, with the hashes and the scores that follow from them, and why it is refused."""


@pytest.mark.slow(2)
def test_a_board_refuses_forged_bundles(make, hand_in, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs = {name: rewrite(make(name, 0, 2, wrong=3), KNOWN) for name in ("honest", *FORGED)}
    hand_in("0-honest", [finished(runs["honest"])])
    for name, (change, _) in FORGED.items():
        altered(hand_in(name, [finished(runs[name])]), recount(change), relist=True)

    assert main(["report", "--board", "bundles", "--out", "site", "--strict"]) == 1
    shown = capsys.readouterr()
    assert "1 row of 1 bundle" in shown.out and "2 of the bundles were refused" in shown.err
    lines = re.findall(r"^(\S+)\.fsb: refused: (.*)$", shown.err, re.MULTILINE)
    refused = dict(lines)
    assert len(lines) == 2 and refused.keys() == FORGED.keys()
    for name, (_, reason) in FORGED.items():
        assert re.search(reason, refused[name]) and len(refused[name]) <= 500, refused[name]
        is_sound_alone = name == "truth"  # it takes another bundle to see it
        assert main(["verify", f"bundles/{name}.fsb"]) == (0 if is_sound_alone else 1)
        assert is_sound_alone or re.search(reason, capsys.readouterr().out)
    page = Path("site/index.html").read_text()
    assert "honest" in page and not any(f">{name}<" in page for name in FORGED)
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
