"""`fsbench explain` of one run, as a user calls it."""

import json

import numpy as np
import pytest
from PIL import Image

from fsbench.records.record import find_records


@pytest.mark.slow(30)
def test_explain_a_run(warm, bench_arguments, tmp_path):
    runs = tmp_path / "runs"
    done = warm(*bench_arguments("dcama", runs))
    assert done.returncode == 0, done.stderr
    assert "dcama: does not say whether a way is present" in done.stdout  # the footnote about presence
    (record,) = find_records(runs)
    seen = warm("explain", str(record.path), "--episodes", "3", "--pixel", "0.5,0.5")
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.splitlines()[-1] == f"{record.path / 'explain'}: episodes.png, explain.json"
    drawn = json.loads((record.path / "explain" / "explain.json").read_text())["drawn"]
    assert [line["episode"] for line in drawn] == [0, 4, 8]
    pixels = np.array(Image.open(record.path / "explain" / "episodes.png"))
    assert pixels.shape[0] > 600 and pixels.std() > 10
    (record.path / "checkpoints" / "finished.json").unlink()
    lost = warm("explain", str(record.path))
    assert lost.returncode == 2 and "expected the checkpoint that the run trained" in lost.stderr
