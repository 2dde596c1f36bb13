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
from fsbench.runner.exchange.verify import Verdict, verify
from fsbench.scores.confusion import FAILED
from tests.fsbench.runner.exchange.test_bundle import cards_of
from tests.fsbench.runs import reseal


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


def bundled(record: Record, predictions: bool = True) -> Path:
    """Return a bundle of a record, with its predictions."""
    file = record.path.parent.parent / "results.fsb"
    write_bundle([record], cards_of([record]), "CC-BY-4.0", "fsbench 1", file, predictions)
    return file


def verdict(bundle: Path, data: DataAtHand | None) -> Verdict:
    (found,) = verify(bundle, data=data)[1].values()
    return found


@pytest.mark.parametrize(
    ("protocol", "task", "decides"),
    [("fscs", {"way": 2}, True), ("fscs", {"way": 2, "draws": 2}, False), ("hsnet", {}, True), ("cdfss", {}, False)],
)
def test_counts_that_follow_from_the_data(blocks_folder, tmp_path, protocol, task, decides):
    record = handed_in(blocks_folder, tmp_path / "runs", protocol, decides, **task)
    assert record.run.presence == ("predicted" if decides else "any_pixel")
    number = len(record.manifest.episodes)
    _, counted, repeated = verdict(bundled(record), DataAtHand(str(blocks_folder), "folder")).lines
    assert counted == f"counted again: {number} of {number} episodes"
    assert f"repeated: 0 of {number}, because the answers were handed in" in repeated


@pytest.mark.parametrize(
    "change",
    [{"tp": pl.lit(0)}, {"void": pl.col("void") + 9, "valid": pl.col("valid") - 9}, {"rom": pl.col("rom") / 2}],
    ids=["pixels", "void", "regions"],
)
def test_a_seal_does_not_hide_other_counts(blocks_folder, tmp_path, change, capsys):
    record = handed_in(blocks_folder, tmp_path / "runs", way=2)
    frame = record.every_episode
    frame = frame.with_columns(
        pl.when(pl.col("episode") == 1).then(value).otherwise(pl.col(name)).cast(frame[name].dtype).alias(name)
        for name, value in change.items()
    )
    frame.write_parquet(record.path / "episodes.parquet")
    reseal(record)
    bundle = bundled(read_record(record.path))
    assert main(["verify", str(bundle)]) == 0
    assert "counted again: 0 of 8, because no --data-root names" in capsys.readouterr().out
    for root in (blocks_folder, f"folder={blocks_folder}"):
        assert main(["verify", str(bundle), "--data-root", str(root), "--dataset", "folder"]) == 1
        assert "1 of 8 episodes have other counts with the data here, first 1" in capsys.readouterr().out


def test_what_cannot_be_counted_again_is_said(blocks_folder, tmp_path):
    record = handed_in(blocks_folder, tmp_path / "runs", way=2)
    for data, words in [
        (DataAtHand(str(blocks_folder)), "'blocks'"),
        (DataAtHand(str(tmp_path / "nowhere"), "folder"), "nowhere"),
    ]:
        found = verdict(bundled(record), data)
        assert words in found.lines[1] and "fsbench-bundle" not in found.lines[1] and not found.failure
    found = verdict(bundled(record, predictions=False), DataAtHand(str(blocks_folder), "folder"))
    assert found.lines[1] == "counted again: 0 of 8, because the bundle does not include the predictions"


def test_failed_episodes_stay_failed(blocks_folder, tmp_path):
    record = handed_in(blocks_folder, tmp_path / "runs", way=2)
    frame = record.every_episode.with_columns((pl.col("episode") == 2).alias(FAILED))
    frame.write_parquet(record.path / "episodes.parquet")
    record = read_record(reseal(record).path)
    again = count_again(read_predictions(record), load_test("folder", root=blocks_folder, way=2, episodes=8))
    assert again.equals(frame.select(again.columns))
