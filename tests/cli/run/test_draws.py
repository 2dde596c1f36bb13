"""A run with several draws of its supports: its scores are those of the official draw, and its counts hold all."""

import polars as pl
import pytest

from fsbench.base.files.folders import LISTING
from fsbench.cli.main import main
from fsbench.records.record import find_records
from tests.cli.commands import run_command

SMALL = ["--data.test.episodes=6", "--data.loading.workers=0", "--data.test.protocol=hsnet", "--data.image_size=64"]


@pytest.fixture(scope="module")
def runs(small_demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for draws in (1, 3):
        assert main(run_command("prototype", folder, small_demo, *SMALL, f"--data.test.draws={draws}")) == 0
    return folder


@pytest.mark.slow(3)
def test_draw_0_of_a_run_is_the_official_run(runs, capsys):
    plain, drawn = sorted(find_records(runs), key=lambda record: record.header.draws)
    assert plain.scores == drawn.scores and plain.episodes.equals(drawn.episodes)
    assert "draw" not in plain.every_draw.columns and "draws" not in plain.run.identity.as_json()
    assert drawn.run.identity.as_json()["draws"] == 3 and drawn.path.name.split("-")[-2] == "3draws"
    assert drawn.every_draw.group_by("draw").len().sort("draw").rows() == [(0, 12), (1, 12), (2, 12)]
    other = drawn.every_draw.filter(pl.col("draw") == 1).drop("draw", "episode")
    assert not other.equals(plain.episodes.drop("episode"))
    assert main(["table", str(drawn.path)]) == 0
    assert "scores count only draw 0, that of the test without further draws" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.slow(2)
def test_supports_of_a_run_are_compared_and_measured(runs, capsys):
    capsys.readouterr()
    folder = runs / "out"
    words = ["table", str(runs), "--by", "draw", "--similarity", "--out", str(folder)]
    assert main([*words, "--plot", str(runs / "supports.png")]) == 0
    shown = capsys.readouterr().out
    assert "best − draw 0" in shown and "similarity" in shown and (runs / "supports.png").stat().st_size > 5000
    assert {file.name for file in folder.iterdir()} == {"supports.txt", "supports.csv", "supports.json", LISTING}
    again = ["table", str(runs), "--by", "draw", "--no-properties"]
    foreign = runs / "holiday.png"
    foreign.write_bytes(b"somebody's")
    (folder / "notes.txt").write_text("somebody's")
    for options in (["--out", str(folder)], ["--plot", str(foreign)]):
        assert main([*again, *options]) == 2
    assert foreign.read_bytes() == b"somebody's" and (folder / "notes.txt").is_file()
    (folder / "notes.txt").unlink()
    assert main([*again, "--out", str(folder), "--plot", str(runs / "supports.png")]) == 0
    capsys.readouterr()
    rows = pl.read_csv(folder / "supports.csv")
    score = rows.filter((pl.col("metric") == "mIoU") & (pl.col("part") == "official draw"))["value"][0]
    plain, drawn = sorted(find_records(runs), key=lambda record: record.header.draws)
    assert score == pytest.approx(plain.scores["mIoU"], rel=1e-5)
    assert main(["table", str(plain.path), "--by", "draw"]) == 2
    assert "--draws 8" in capsys.readouterr().err
    assert main(["report", str(drawn.path), "--out", str(runs / "report"), "--no-photos"]) == 0
    assert "The choice of the supports" in (runs / "report/study-1/index.html").read_text()
