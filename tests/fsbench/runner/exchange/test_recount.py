"""Predictions that were handed in are counted again from the data, without the method."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fsbench.cli.main import main
from fsbench.records.predictions import read_predictions
from fsbench.records.record import Record, read_record
from fsbench.runner.config.tests import load_test
from fsbench.runner.evaluation.evaluate import evaluate
from fsbench.runner.exchange.bundle import write_bundle
from fsbench.runner.exchange.recount import DataAtHand, count_again
from fsbench.runner.exchange.verify import verify
from fsbench.scores.confusion import FAILED
from tests.fsbench.runner.exchange.test_bundle import cards_of
from tests.fsbench.runs import reseal

AGAIN = "predictions that were handed in were counted again and gave the same counts"


def by_chance(episode, decides: bool = True) -> object:
    """Answer with drawn blocks, and decide on presence by itself."""
    rng = np.random.default_rng(episode.number)
    height, width = episode.size or (40, 40)
    mask = rng.integers(0, episode.way + 1, (height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)
    mask = mask[:height, :width]
    if not decides:
        return mask
    score = rng.random(episode.way, np.float32)
    return mask, score > 0.5, score


def handed_in(root: Path, runs: Path, protocol: str = "fscs", decides: bool = True, **task) -> Record:
    test = load_test("folder", root=root, protocol=protocol, episodes=8, **task)
    return evaluate(lambda episode: by_chance(episode, decides), test, name="my own", runs=runs, progress=False).record


@pytest.fixture
def bundled(tmp_path):
    """bundled(record) -> a bundle of it with its predictions."""

    def write(record: Record, predictions: bool = True) -> Path:
        file = tmp_path / "results.fsb"
        card = {"checkpoint_choice": "unknown", "novel_pixels": "unknown"}
        write_bundle([record], cards_of([record], **card), "CC-BY-4.0", "fsbench 1", file, predictions)
        return file

    return write


def said(bundle: Path, data: DataAtHand | None) -> dict[str, str]:
    """Return what `verify` says of the run, by status."""
    return {finding.what: finding.status for finding in verify(bundle, data=data)[1] if finding.run}


@pytest.mark.parametrize(
    ("protocol", "task", "decides"),
    [("fscs", {"way": 2}, True), ("fscs", {"way": 2, "draws": 2}, False), ("hsnet", {}, True), ("cdfss", {}, False)],
)
def test_counts_that_follow_from_the_data(blocks_folder, tmp_path, bundled, protocol, task, decides):
    record = handed_in(blocks_folder, tmp_path / "runs", protocol, decides, **task)
    assert record.run.presence == ("predicted" if decides else "any_pixel")
    number = len(record.manifest.episodes)
    found = said(bundled(record), DataAtHand(str(blocks_folder), "folder"))
    assert found[f"{number} {AGAIN}"] == "ok" and "failed" not in found.values()


@pytest.mark.parametrize(
    "columns",
    [{"tp": pl.lit(0)}, {"void": pl.col("void") + 9, "valid": pl.col("valid") - 9}, {"rom": pl.col("rom") / 2}],
    ids=["pixels", "void", "regions"],
)
def test_a_seal_made_again_does_not_hide_other_counts(blocks_folder, tmp_path, bundled, columns, capsys):
    """Of the second episode."""
    record = handed_in(blocks_folder, tmp_path / "runs", way=2)
    frame = record.every_episode
    second = pl.col("episode") == 1
    frame.with_columns(
        pl.when(second).then(value).otherwise(pl.col(name)).cast(frame[name].dtype).alias(name)
        for name, value in columns.items()
    ).write_parquet(record.path / "episodes.parquet")
    bundle = bundled(reseal(record))
    assert main(["verify", str(bundle)]) == 0
    assert "not checked  counts of the predictions that were handed in" in capsys.readouterr().out
    assert main(["verify", str(bundle), "--data-root", str(blocks_folder), "--dataset", "folder"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  failed")]
    assert "1 of 8 episodes have other counts" in line
    assert main(["verify", str(bundle), "--data-root", f"folder={blocks_folder}", "--dataset", "folder"]) == 1
    assert line in capsys.readouterr().out  # the folder is named as for several data sets


def test_what_cannot_be_counted_again_is_not_checked(blocks_folder, tmp_path, bundled):
    record = handed_in(blocks_folder, tmp_path / "runs", way=2)
    of_this = "counts of the predictions that were handed in"
    for data, words in [
        (None, "--data-root"),
        (DataAtHand(str(blocks_folder)), "'blocks'"),
        (DataAtHand(str(tmp_path / "nowhere"), "folder"), "nowhere"),
    ]:
        found = said(bundled(record), data)
        (what,) = [what for what in found if what.startswith(of_this)]
        assert words in what and found[what] == "not checked" and "fsbench-bundle" not in what
    without = said(bundled(record, predictions=False), DataAtHand(str(blocks_folder), "folder"))
    assert without[f"{of_this}: the bundle does not include the predictions"] == "not checked"


def test_failed_episodes_stay_failed(blocks_folder, tmp_path):
    record = handed_in(blocks_folder, tmp_path / "runs", way=2)
    frame = record.every_episode.with_columns((pl.col("episode") == 2).alias(FAILED))
    frame.write_parquet(record.path / "episodes.parquet")
    record = read_record(reseal(record).path)
    again = count_again(read_predictions(record), load_test("folder", root=blocks_folder, way=2, episodes=8))
    assert again.equals(frame.select(again.columns))
