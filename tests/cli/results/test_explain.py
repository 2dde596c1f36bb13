"""`fsbench explain` of one run, as a user calls it."""

import json

import numpy as np
import pytest
from PIL import Image

from fsbench.cli.main import main
from fsbench.records.record import find_records
from fsbench.results.pictures.palette import QUERY_COLOR, SUPPORT_COLOR


@pytest.mark.slow(30)
def test_explain_a_run(warm, bench_arguments, tmp_path):
    runs = tmp_path / "runs"
    done = warm(*bench_arguments("dcama", runs))
    assert done.returncode == 0, done.stderr
    assert "dcama only segments" in done.stdout  # the footnote about presence
    (record,) = find_records(runs)
    seen = warm("explain", str(record.path), "--pixel", "0.5,0.5", "--points", "60")
    assert seen.returncode == 0, seen.stderr
    numbers = json.loads((record.path / "explain" / "explain.json").read_text())
    assert list(numbers["masks"]) == ["1/8", "1/16", "1/32", "final"] and numbers["episodes"] == 9
    # the final masks are the run's predictions
    assert numbers["masks"]["final"]["mIoU"] == pytest.approx(record.run.scores["mIoU"])
    assert numbers["masks"]["final"]["FB-IoU"] == pytest.approx(record.run.scores["FB-IoU"])
    assert 0 < numbers["tsne"]["pixels"] <= 60
    assert numbers["drawn"][0]["pixel"] == [64, 64] and 0 < sum(numbers["drawn"][0]["attention_in_mask"]) < 1
    assert set(numbers["drawn"][0]["otsu_thresholds"]) == {"1/8", "1/16", "1/32"}
    rows = (record.path / "explain" / "tsne.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * numbers["tsne"]["pixels"] and rows[0] == "features,foreground,x,y"
    for name in ("masks.png", "attention.png", "tsne.png"):
        pixels = np.array(Image.open(record.path / "explain" / name))
        assert pixels.shape[0] > 100 and pixels.std() > 10
    other = warm("explain", str(record.path), "--class", "unicorn")
    assert other.returncode == 2 and "--class is 'unicorn', which the run is not about" in other.stderr
    (record.path / "checkpoints" / "finished.json").unlink()
    lost = warm("explain", str(record.path))
    assert lost.returncode == 2 and "expected the checkpoint that the run trained" in lost.stderr


@pytest.mark.slow
def test_explain_a_method_with_a_state(warm, bench_arguments, tmp_path, capsys):
    runs = tmp_path / "runs"
    done = warm(*bench_arguments("hmnet", runs))
    assert done.returncode == 0, done.stderr
    (record,) = find_records(runs)
    assert main(["explain", str(record.path), "--episodes", "3"]) == 0
    numbers = json.loads((record.path / "explain" / "explain.json").read_text())
    recapped, once = (numbers["memory"][f"block 1: support {how}"] for how in ("recapped", "once"))
    assert numbers["episodes"] == 3 and len(recapped) == len(once) == 16 * 4
    assert recapped[:4] == once[:4] and recapped[4:] != once[4:]  # the support comes again after the first patch
    assert f"{min(recapped):7.3f}" in capsys.readouterr().out
    pixels = np.array(Image.open(record.path / "explain" / "memory.png").convert("RGB"))
    for color in (QUERY_COLOR, SUPPORT_COLOR):
        assert (np.abs(pixels.astype(int) - color).max(-1) < 40).sum() > 400  # a curve across the figure


def test_explain_refuses_what_is_no_run(tmp_path, capsys):
    assert main(["explain", str(tmp_path)]) == 2
    assert "is no finished run with a config.yaml" in capsys.readouterr().err
    assert main(["explain", str(tmp_path), "--pixel", "1,2"]) == 2
    assert "--pixel is '1,2', expected two numbers from 0 to below 1" in capsys.readouterr().err
