"""A protocol with a metric of its own, as `fsbench new protocol` writes it, is known to every command."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from fsbench.base.paths import REPOSITORY
from fsbench.cli.main import main
from tests.drawn_domains import prepare_drawn
from tests.plugged import install

MEANING = "mean over the classes of twice the overlap / the areas of prediction and truth"
SMALL = ["--data.image_size=64", "--data.episodes=6", "--data.workers=0"]


def installed(tmp_path: Path) -> Path:
    """Install the package of `fsbench new protocol own` as its pyproject.toml says; return the folder."""
    assert main(["new", "protocol", "own", "--in", str(tmp_path / "code")]) == 0
    package = tmp_path / "code" / "own"
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    own = sorted(path.name for path in package.rglob("*") if path.suffix in (".py", ".yaml"))
    assert own == ["cases.yaml", "own.py", "own.yaml", "test_own.py"]  # one file, one YAML, and what tests them
    written = [path for path in package.rglob("*") if path.suffix in (".py", ".yaml") and "accepted" not in path.parts]
    files = {str(path.relative_to(package)): path.read_text() for path in written}
    return install(tmp_path / "site", project["name"], project["entry-points"], files, project["version"])


@pytest.mark.slow
def test_a_new_protocol_s_metric_stands_in_every_table(fsbench, bench_arguments, tmp_path):
    site = installed(tmp_path)

    def call(*words: str, status: int = 0) -> str:
        done = fsbench(*words, PYTHONPATH=f"{REPOSITORY}:{site}")
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    for method in ("prototype", "blind_centre"):
        call(*bench_arguments(method, "runs", "--protocol", "own", "--fold", "0"))
    runs = sorted(str(path.parent) for path in (tmp_path / "runs").glob("*/run.json"))
    for run in runs:
        origins = json.loads((tmp_path / run / "run.json").read_text())["provenance"]["plug_ins"]
        known = {"package": "fsbench-own", "version": "0.1.0", "commit": None}
        assert origins == [{"part": "protocol", "name": "own", **known}]
    (block,) = json.loads(call("table", *runs, "--no-trivial", "--format", "json"))
    assert list(block["metrics"]) == ["own-Dice", "mIoU", "FB-IoU"]
    for row in block["rows"]:
        dice, iou = (row["scores"][name]["value"] for name in ("own-Dice", "mIoU"))
        assert iou < dice <= 2 * iou  # of every class 2 IoU / (1 + IoU), where no void is in the union
    value = f"{block['rows'][0]['scores']['own-Dice']['value']:.2f}"
    for words in (("table", *runs), ("table", *runs, "--metrics", "own-Dice")):
        text = call(*words)
        assert value in text and "own-Dice" in text and "twice the overlap" in text
    compared = call("compare", *runs)
    assert "own-Dice, fold 0" in compared and value in compared
    call("report", *runs, "--out", "pages")
    page = next(tmp_path.glob("pages/study-*/index.html")).read_text()
    assert "own-Dice" in page and value in page and "twice the overlap" in page
    assert f"own-Dice: {MEANING}" in " ".join(call("protocols", "own").split())
    assert "twice the overlap" in call("list")
    assert f"class-pooled Dice {MEANING}" in " ".join(call("atlas", "words", "metric").split())

    said = call("table", *runs, "--metrics", "own-Dise", status=2)
    assert "unknown metric 'own-Dise'; did you mean 'own-Dice'?" in said and "Traceback" not in said


@pytest.mark.slow
def test_its_runs_stand_in_the_atlas_in_its_own_words(fsbench, tmp_path):
    path = f"{REPOSITORY}:{installed(tmp_path)}"
    root = prepare_drawn(tmp_path, "isic")
    place = ["--dataset", "isic", "--data-root", str(root), "--runs", "runs"]
    done = fsbench("bench", "--method", "blind_centre", "--protocol", "own", *place, *SMALL, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    done = fsbench("report", "runs", "--out", "pages", "--gallery", "0", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "pages" / "atlas.html").read_text()
    data = json.loads(re.search(r'id="atlas-data">(.*?)</script>', text, re.DOTALL)[1])
    (entry,) = [entry for entry in data["entries"].values() if entry["ours"]]
    assert entry["conditions"]["metric"] == "class-pooled Dice"
    assert data["words"]["metric"]["class-pooled Dice"] == MEANING
    (record,) = (tmp_path / "runs").glob("*/run.json")
    score = json.loads(record.read_text())["scores"]["own-Dice"]
    figures = {figure["metric"]: figure["value"] for figure in entry["figures"]}
    assert figures["own-Dice"] == f"{score:.1f}" and "mIoU" in figures
