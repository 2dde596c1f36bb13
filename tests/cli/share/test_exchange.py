"""A result travels: bench, bundle, verify with some episodes predicted again, on the real command line."""

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
def test_bundled_runs_are_repeated(method, warm, run_arguments, small_demo, tmp_path):
    done = warm(*run_arguments(method, tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "card.yaml").write_text(CARD)
    bundle = tmp_path / "bundles/results.fsb"
    bundle.parent.mkdir()
    done = warm("bundle", "runs", "--card", "card.yaml", "-o", str(bundle))
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(bundle).namelist()
    assert {name.rpartition("/")[2] for name in names} == {
        "bundle.json", "run.json", "episodes.parquet", "manifest.jsonl", "config.yaml",
    }  # fmt: skip
    config = next(name for name in names if name.endswith("config.yaml"))
    assert str(tmp_path).encode() not in zipfile.ZipFile(bundle).read(config)
    (tmp_path / "data/demo").mkdir(parents=True)
    done = warm("verify", str(bundle))
    assert done.returncode == 0 and "because the data are not at data/demo" in done.stdout, done.stdout
    assert not any((tmp_path / "data/demo").iterdir())  # no data are drawn for a bundle

    (run,) = (tmp_path / "runs").glob("*/run.json")
    weights = [f"--ckpt={path}" for path in run.parent.glob("checkpoints/*.ckpt") if "last" not in path.name]
    shutil.copytree(small_demo, tmp_path / "elsewhere")
    again = ["verify", str(bundle), "--data-root", "elsewhere"]
    done = warm(*again, *weights, "--note")
    assert done.returncode == 0 and "repeated: 3 of " in done.stdout, done.stdout
    assert done.stdout.startswith(f"{bundle}: nothing failed, repeated: 3 of ")
    assert "with 95 % certainty fewer than" in done.stdout
    board = ["report", "--board", "bundles", "--out", "site"]
    assert warm(*board).returncode == 0
    assert re.search(r"repeated: 3 of \d+ episodes", (tmp_path / "site/index.html").read_text())
    if weights:
        done = warm(*again)
        assert done.returncode == 0 and re.search("repeated: 0 of .*expected the checkpoint", done.stdout), done.stdout


@pytest.mark.slow
def test_a_bundle_of_classification(warm, tmp_path):
    photos = draw_photos(tmp_path / "photos")
    done = warm("bench", *arguments("nn", photos, tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "card.yaml").write_text(CARD)
    assert warm("bundle", "runs", "--card", "card.yaml", "-o", "results.fsb").returncode == 0
    done = warm("verify", "results.fsb")
    assert done.returncode == 0, done.stderr
    assert "from the counts of 6 episodes, by protocol fort version 1: accuracy" in done.stdout
    assert "repeated: 0 of 6, because predictions of classification" in done.stdout


@pytest.mark.slow
def test_a_class_in_a_file_runs_only_if_the_command_names_it(warm, bench_arguments, small_demo, tmp_path):
    file = tmp_path / "code" / "mine.py"
    file.parent.mkdir()
    marker = tmp_path / "was-run"
    file.write_text(
        "from pathlib import Path\n"
        "from fsbench.methods.prototype import Prototype\n"
        f"Path({str(marker)!r}).touch()\n\n"
        "class Mine(Prototype):\n"
        '    """A baseline under another name."""\n'
    )
    done = warm(*bench_arguments("code/mine.py:Mine", "runs"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "card.yaml").write_text(CARD)
    assert warm("bundle", "runs", "--card", "card.yaml", "-o", "results.fsb").returncode == 0
    marker.unlink()
    again = ["verify", "results.fsb", "--data-root", str(small_demo)]
    done = warm(*again)
    assert done.returncode == 0 and not marker.exists(), done.stderr
    assert re.search("repeated: 0 of .*, because .*Mine.*--method", done.stdout), done.stdout
    done = warm(*again, "--method", "code/mine.py:Mine")
    assert done.returncode == 0 and "repeated: 3 of " in done.stdout and marker.exists(), done.stdout


@pytest.mark.slow
def test_counts_that_nothing_predicts_are_found_out(warm, run_arguments, small_demo, tmp_path):
    """A sealed record, whose episodes are honest where a fixed seed looks.

    Half of the episodes are honest: a sample of all but one of these finds the others for certain, unless it can be
    foreseen.
    """
    import numpy as np
    import polars as pl

    from fsbench.records.record import read_record
    from tests.fsbench.runs import reseal

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
    frame.write_parquet(folder / "episodes.parquet")
    reseal(record)
    (tmp_path / "card.yaml").write_text(CARD)
    assert warm("bundle", "runs", "--card", "card.yaml", "-o", "results.fsb").returncode == 0
    done = warm("verify", "results.fsb", "--predict", "0")
    assert done.returncode == 0 and "nothing failed, repeated: 0 of" in done.stdout
    again = ["verify", "results.fsb", "--data-root", str(small_demo), "--predict", str(len(honest) + 1)]
    (tmp_path / "results.fsb.repeated.json").write_text("{}")
    for more in ([], ["--public-value", "0123abc", "--note"]):
        done = warm(*again, *more)
        assert done.returncode == 1 and "gives other counts now than in the record" in done.stdout, done.stdout
    assert not (tmp_path / "results.fsb.repeated.json").exists()
