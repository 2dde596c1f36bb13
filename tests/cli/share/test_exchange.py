"""A result travels: bench, bundle, verify with some episodes predicted again, on the real command line."""

import json
import re
import shutil
import zipfile

import pytest

from tests.photos import arguments, draw_photos

CARD = """\
backbone_saw_test_images: no
trials: 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prototype", "hsnet"])
def test_bundled_runs_are_verified_and_predicted_again(method, warm, run_arguments, small_demo, tmp_path):
    done = warm(*run_arguments(method, tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "card.yaml").write_text(CARD)
    done = warm("bundle", "runs", "--card", "card.yaml", "-o", "results.fsb")
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(tmp_path / "results.fsb").namelist()
    assert {name.rpartition("/")[2] for name in names} == {
        "bundle.json", "run.json", "episodes.parquet", "manifest.jsonl", "config.yaml",
    }  # fmt: skip
    config = next(name for name in names if name.endswith("config.yaml"))
    assert str(tmp_path).encode() not in zipfile.ZipFile(tmp_path / "results.fsb").read(config)
    (run,) = (tmp_path / "runs").glob("*/run.json")
    checkpoints = [path for path in run.parent.glob("checkpoints/*.ckpt") if "last" not in path.name]
    weights = [f"--ckpt={path}" for path in checkpoints]
    shutil.copytree(small_demo, tmp_path / "elsewhere")
    again = ["verify", "results.fsb", "--predict", "3", "--data-root", "elsewhere"]
    done = warm(*again, *weights)
    assert done.returncode == 0 and "predicted again, 3 of " in done.stdout, done.stdout
    assert done.stdout.startswith("results.fsb: verified, no finding failed, ")
    (seed,) = re.findall("drawn by --sample-seed ([0-9a-f]{32})", done.stdout)
    assert "with 95 % certainty fewer than" in done.stdout and warm("verify", "results.fsb").stdout.count(seed) == 0
    if weights:
        done = warm(*again)
        assert done.returncode == 1 and "expected the checkpoint that the run trained" in done.stdout


@pytest.mark.slow
def test_a_bundle_of_classification(warm, tmp_path):
    photos = draw_photos(tmp_path / "photos")
    done = warm("bench", *arguments("nn", photos, tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "card.yaml").write_text(CARD)
    assert warm("bundle", "runs", "--card", "card.yaml", "-o", "results.fsb").returncode == 0
    done = warm("verify", "results.fsb")
    assert done.returncode == 0 and "6 episodes are complete, and their counts agree" in done.stdout, done.stdout
    assert "protocol fort version 1" in done.stdout


@pytest.mark.slow
def test_counts_that_nothing_predicts_are_found_out(warm, run_arguments, small_demo, tmp_path):
    """A record whose counts, scores and hashes fit each other, and whose episodes are honest where a fixed seed looks.

    Half of the episodes are honest: a sample of all but one of these finds the others for certain, unless it can be
    foreseen.
    """
    import numpy as np
    import polars as pl

    from fsbench.records.counts import hashes
    from fsbench.records.record import read_record

    assert warm(*run_arguments("prototype", tmp_path / "runs")).returncode == 0
    (folder,) = (file.parent for file in (tmp_path / "runs").glob("*/run.json"))
    record = read_record(folder)
    numbers = [episode.number for episode in record.manifest.episodes]
    honest = np.random.default_rng(0).permutation(numbers)[: len(numbers) // 2].tolist()
    forged = ~pl.col("episode").is_in(honest)
    perfect = {"tp": pl.col("gt"), "pred": pl.col("gt"), "pred_void": 0, "rom": 0, "rum": 0}
    frame = record.every_episode
    frame = frame.with_columns(
        pl.when(forged).then(value).otherwise(pl.col(name)).cast(frame[name].dtype).alias(name)
        for name, value in perfect.items()
    )
    run = json.loads((folder / "run.json").read_text())
    scores = record.protocol.statistics(frame, record.header).scores()
    run |= hashes(frame) | {"scores": scores}
    frame.write_parquet(folder / "episodes.parquet")
    (folder / "run.json").write_text(json.dumps(run))
    (tmp_path / "card.yaml").write_text(CARD)
    assert warm("bundle", "runs", "--card", "card.yaml", "-o", "results.fsb").returncode == 0
    assert warm("verify", "results.fsb").returncode == 0
    again = ["verify", "results.fsb", "--data-root", str(small_demo), "--predict", str(len(honest) + 1)]
    for more in ([], ["--public-value", "0123abc"]):
        done = warm(*again, *more)
        assert done.returncode == 1 and "gives other counts now than in the record" in done.stdout, done.stdout
    assert warm("verify", "results.fsb", "--public-value", "0123abc").returncode == 2
