"""The benchmark of a command's start and end notes the parts of a true run, and shows medians."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.speed.start.__main__ import PARTS, _keep, _rows
from fsbench.paths import REPOSITORY
from fsbench.records.record import find_records
from tests.cli.commands import run_command
from tests.cli.conftest import small_demo  # noqa: F401  (a fixture)


def test_rows_are_medians_of_turns(tmp_path):
    now, before = ([{"a": a, "b": 1.0} for a in turns] for turns in ((3.0, 1.0, 2.04), (9.0, 8.0, 7.0)))
    rows = _rows([before, now])
    assert rows == [["a", "8.0", "2.0"], ["b", "1.0", "1.0"]]
    _keep(tmp_path / "start.json", ["of", "before", "now"], rows, 3)
    kept = json.loads((tmp_path / "start.json").read_text())
    assert kept["tables"]["start"]["rows"] == rows and "there were 3." in kept["origin"]


@pytest.mark.slow
def test_a_run_notes_its_parts(small_demo, tmp_path):  # noqa: F811
    run = run_command("prototype", tmp_path / "runs", small_demo, "--data.episodes=1", "--data.workers=0")[1:]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(PARTS), str(tmp_path / "stamps"), *run]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imports, parsing, episodes, end = json.loads((tmp_path / "stamps").read_text())
    assert imports + parsing + episodes == pytest.approx(end) and min(imports, parsing, episodes) > 0
    assert len(find_records(tmp_path / "runs")) == 1
