"""A run with several draws of its supports: its score is that of the official draw, beside those of all draws."""

import json
from statistics import mean, stdev

import polars as pl
import pytest

from fsbench.base.files.folders import LISTING
from fsbench.cli.main import main
from fsbench.records.record import find_records
from fsbench.scores.distributions import t_quantile
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
    page = (runs / "report/study-1/index.html").read_text()
    assert 0 < page.index('<section id="draws">') < page.index('<section id="table">') < page.index('id="supports">')


def printed(capsys, *words):
    """What `fsbench` answers in JSON."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow(3)
def test_the_scores_of_the_draws_come_first_with_mean_and_deviation(runs, capsys):
    (drawn,) = (record for record in find_records(runs) if record.header.draws > 1)
    frames = drawn.every_draw.partition_by("draw", maintain_order=True, include_key=False)
    scores = [drawn.protocol.statistics(frame, drawn.header).scores()["mIoU"] for frame in frames]
    expected = {f"draw {number}": score for number, score in enumerate(scores)}
    expected |= {"mean over draws": mean(scores), "sd over draws": stdev(scores)}
    assert scores[0] == drawn.scores["mIoU"] and len(set(scores)) == 3
    (line,) = printed(capsys, "table", drawn.path, "--format", "json")[0]["rows"][:1]
    assert {part: own["mIoU"]["value"] for part, own in line["by_draw"].items()} == pytest.approx(expected)
    (study,) = printed(capsys, "table", drawn.path, "--by", "draw", "--no-properties", "--format", "json")
    of_draws = {row["part"]: row["value"] for row in study["draws"] if row["metric"] == "mIoU"}
    assert of_draws == pytest.approx(expected)
    half = t_quantile(0.975, 2) * stdev(scores) / 3**0.5
    interval = line["by_draw"]["mean over draws"]["mIoU"]
    assert interval["scope"] == "these images"
    assert interval["high"] == pytest.approx(min(mean(scores) + half, 100))
    for words, later in ((["table", drawn.path], "95 % interval"), (["table", drawn.path, "--by", "draw"], "worst")):
        assert main([*map(str, words)]) == 0
        out = capsys.readouterr().out
        assert 0 < out.index("sd of 3") < out.index(later)


@pytest.mark.slow(3)
def test_two_methods_are_compared_within_each_draw(runs, small_demo, tmp_path, capsys):
    assert main(run_command("blind_centre", tmp_path, small_demo, *SMALL, "--data.test.draws=3")) == 0
    own = next(record for record in find_records(runs) if record.header.draws == 3)
    folders = (own.path, tmp_path)
    of_method = {
        block["rows"][0]["method"]: block["rows"][0]["by_draw"]
        for block in (printed(capsys, "table", folder, "--format", "json")[0] for folder in folders)
    }
    (found,) = printed(capsys, "compare", *folders, "--format", "json")
    rows = {row["part"]: row for row in found["draws"] if row["metric"] == "mIoU"}
    first, second = (of_method[rows["draw 0"][name]] for name in ("method", "minus"))
    gaps = [first[f"draw {n}"]["mIoU"]["value"] - second[f"draw {n}"]["mIoU"]["value"] for n in range(3)]
    assert [rows[f"draw {n}"]["value"] for n in range(3)] == pytest.approx(gaps)
    assert rows["mean over draws"]["value"] == pytest.approx(mean(gaps))
    assert rows["sd over draws"]["value"] == pytest.approx(stdev(gaps))
