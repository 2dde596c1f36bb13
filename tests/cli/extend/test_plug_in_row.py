"""A row of the atlas in an installed package: a line of csv, and no Python."""

import csv
import io
import json

import pytest

from fsbench.base.paths import REPOSITORY
from fsbench.protocols.programs import FOLDER
from tests.plugged import install


def stranger_row() -> str:
    """Return a file with one row: MLC's lists and draw, in three processes, compared at a fixed size."""
    with (FOLDER / "conditions.csv").open(newline="") as file:
        cells = next(line for line in csv.DictReader(file) if line["method"] == "MLC (baseline)")
    cells |= {
        "method": "Stranger", "dataset": "PASCAL-5i", "workers": "3", "seeds": "7", "episodes_per_fold": "20",
        "geometry": "squash, OpenCV", "compared_at": "fixed 512", "goldens": "", "certainty": "read",
    }  # fmt: skip
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(cells))
    writer.writeheader()
    writer.writerow(cells)
    return text.getvalue()


@pytest.mark.slow(30)
def test_a_stranger_s_row_is_run_shown_and_counted_again(fsbench, bench_arguments, tmp_path):
    files = {"fsb_rows/__init__.py": "", "fsb_rows/configs/atlas/conditions.csv": stranger_row()}
    site = install(tmp_path / "site", "fsb-rows", {"fsbench.configs": {"rows": "fsb_rows.configs"}}, files)

    def call(*words: str, status: int = 0, path: str = f"{REPOSITORY}:{site}") -> str:
        done = fsbench(*words, PYTHONPATH=path)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    name = "atlas:stranger/pascal-5i"
    assert name in call("list", "protocols", "atlas:")
    shown = call("list", "protocols", name)
    assert "episodes hang on: workers 3" in shown and "atlas:stranger/pascal-5i: main.py of" in shown
    call(*bench_arguments("prototype", "runs", "--protocol", name, "--fold", "0"))
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("*atlas-stranger-pascal-5i*/run.json"))
    header = json.loads((folder / "manifest.jsonl").read_text().split("\n")[0])
    assert (header["protocol"], header["seed"], header["drawn_by"]) == (name, 7, {"workers": 3})
    assert f"protocol {name} v1" in call("table", "runs")
    assert "metric of atlas:vat/pascal-5i v1" in call("table", "runs", "--protocol", "atlas:vat/pascal-5i")
    assert "unknown row 'stranger/pascal-5i'" in call("table", "runs", status=2, path=str(REPOSITORY))
