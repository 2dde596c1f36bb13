"""The guide's protocol with a metric of its own is known to every command."""

import json
import re
from pathlib import Path

import pytest

from fsbench.base.paths import REPOSITORY
from tests.cli.test_readme import EXAMPLE
from tests.drawn_domains import prepare_drawn
from tests.plugged import install

MEANING = "mean over the classes of twice the overlap / the areas of prediction and truth"
SMALL = ["--data.image_size=64", "--data.test.episodes=6", "--data.loading.workers=0"]


def installed(tmp_path: Path) -> Path:
    """Install a package of the guide's two files as the guide says; return the folder."""
    guide = (REPOSITORY / "docs" / "guides" / "protocols.md").read_text(encoding="utf-8")
    files = {name: text for name, text in EXAMPLE.findall(guide) if name.startswith("bydice/")}
    assert list(files) == ["bydice/metric.py", "bydice/configs/protocols/bydice.yaml"]
    groups = {
        "fsbench.protocols": {"Dice": "bydice.metric:Dice"},
        "fsbench.configs": {"bydice": "bydice.configs"},
    }
    return install(tmp_path / "site", "fsbench-bydice", groups, files | {"bydice/__init__.py": ""}, "0.1.0")


@pytest.mark.slow
def test_its_metric_stands_in_every_table(fsbench, bench_arguments, tmp_path):
    site = installed(tmp_path)

    def call(*words: str, status: int = 0) -> str:
        done = fsbench(*words, PYTHONPATH=f"{REPOSITORY}:{site}")
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    for method in ("prototype", "blind_centre"):
        call(*bench_arguments(method, "runs", "--protocol", "bydice", "--fold", "0"))
    runs = sorted(str(path.parent) for path in (tmp_path / "runs").glob("*/run.json"))
    for run in runs:
        origins = json.loads((tmp_path / run / "run.json").read_text())["provenance"]["plug_ins"]
        known = {"package": "fsbench-bydice", "version": "0.1.0", "commit": None}
        assert origins == [{"part": "protocol", "name": "bydice", **known}]
    (block,) = json.loads(call("table", *runs, "--no-trivial", "--format", "json"))
    assert list(block["metrics"]) == ["Dice", "mIoU"]
    for row in block["rows"]:
        dice, iou = (row["scores"][name]["value"] for name in ("Dice", "mIoU"))
        assert iou < dice <= 2 * iou  # of every class 2 IoU / (1 + IoU), where no void is in the union
    value = f"{block['rows'][0]['scores']['Dice']['value']:.2f}"
    for words in (("table", *runs), ("table", *runs, "--metrics", "Dice")):
        text = call(*words)
        assert value in text and "Dice" in text and "twice the overlap" in text
    compared = call("compare", *runs)
    assert "Dice, fold 0" in compared and value in compared
    call("report", *runs, "--out", "pages")
    page = next(tmp_path.glob("pages/study-*/index.html")).read_text()
    assert "Dice" in page and value in page and "twice the overlap" in page
    assert f"Dice: {MEANING}" in " ".join(call("list", "protocols", "bydice").split())
    assert "twice the overlap" in call("list")
    assert f"class-pooled Dice {MEANING}" in " ".join(call("atlas", "words", "metric").split())

    said = call("table", *runs, "--metrics", "Dise", status=2)
    assert "unknown metric 'Dise'; did you mean 'Dice'?" in said and "Traceback" not in said


@pytest.mark.slow
def test_its_runs_stand_in_the_atlas_in_its_own_words(fsbench, tmp_path):
    path = f"{REPOSITORY}:{installed(tmp_path)}"
    root = prepare_drawn(tmp_path, "isic")
    place = ["--dataset", "isic", "--data-root", str(root), "--runs", "runs"]
    done = fsbench("bench", "--method", "blind_centre", "--protocol", "bydice", *place, *SMALL, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    done = fsbench("report", "runs", "--out", "pages", "--gallery", "0", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "pages" / "atlas.html").read_text()
    data = json.loads(re.search(r'id="atlas-data">(.*?)</script>', text, re.DOTALL)[1])
    (entry,) = [entry for entry in data["entries"].values() if entry["ours"]]
    assert entry["conditions"]["metric"] == "class-pooled Dice"
    assert data["words"]["metric"]["class-pooled Dice"] == MEANING
    (record,) = (tmp_path / "runs").glob("*/run.json")
    score = json.loads(record.read_text())["scores"]["Dice"]
    figures = {figure["metric"]: figure["value"] for figure in entry["figures"]}
    assert figures["Dice"] == f"{score:.1f}" and "mIoU" in figures
