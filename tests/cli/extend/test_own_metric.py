"""A protocol of an installed package with a metric of its own: one file and one YAML, known to every command."""

import json

import pytest

from fsbench.paths import REPOSITORY
from tests.plugged import METHOD, install

OWN = '''"""HSNet's test, scored by Dice."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fsbench.metrics.metric import Metric, Sum, class_mean
from fsbench.metrics.scores import INTERSECTION, TRUTH
from fsbench.protocols.hsnet import HSNet


class Dice(Metric):
    name = "Dice"
    meaning = "mean over the classes of twice the overlap / the areas of prediction and truth"
    sums = (INTERSECTION, Sum("areas", lambda table: table.by_class(table.column("pred") + table.column("gt"))), TRUTH)
    atlas_metric = "class-pooled Dice"

    def compute(self, totals, run):
        return class_mean(2 * totals["intersection"] / np.maximum(totals["areas"], 1), totals, run)


@dataclass(frozen=True)
class Own(HSNet):
    """HSNet's test, scored by Dice."""

    metrics: ClassVar = (Dice(), *HSNet.metrics)
    default_metrics: ClassVar = ("Dice", "mIoU")
'''
FILE = """class_path: fsb_own.own.Own
name: own
version: 1
summary: hsnet, scored by Dice
episodes: {others: 24}
"""


def package(folder, code=OWN):
    groups = {
        "fsbench.methods": {"constant": "fsb_own.mine:Constant"},
        "fsbench.protocols": {"own": "fsb_own.own:Own"},
        "fsbench.configs": {"own": "fsb_own.configs"},
    }
    files = {
        "fsb_own/__init__.py": "",
        "fsb_own/mine.py": METHOD,
        "fsb_own/own.py": code,
        "fsb_own/configs/protocols/own.yaml": FILE,
    }
    return install(folder, "fsb-own", groups, files)


@pytest.mark.slow
def test_a_metric_of_one_s_own_stands_in_every_table(fsbench, bench_arguments, tmp_path):
    site = package(tmp_path / "site")

    def call(*words: str, status: int = 0) -> str:
        done = fsbench(*words, PYTHONPATH=f"{REPOSITORY}:{site}")
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    for method in ("prototype", "constant"):
        call(*bench_arguments(method, "runs", "--protocol", "own", "--fold", "0"))
    runs = sorted(str(path.parent) for path in (tmp_path / "runs").glob("*/run.json"))
    (block,) = json.loads(call("table", *runs, "--no-trivial", "--format", "json"))
    assert list(block["metrics"]) == ["Dice", "mIoU"]
    for row in block["rows"]:
        dice, iou = (row["scores"][name]["value"] for name in ("Dice", "mIoU"))
        assert iou < dice <= 2 * iou  # of every class 2 IoU / (1 + IoU), where no void is in the union
        assert row["scores"]["Dice"]["low"] <= dice <= row["scores"]["Dice"]["high"]
    value = f"{block['rows'][0]['scores']['Dice']['value']:.2f}"
    for words in (("table", *runs), ("table", *runs, "--metrics", "Dice")):
        text = call(*words)
        assert value in text and "Dice" in text and "twice the overlap" in text
    compared = call("compare", *runs, "--resamples", "100")
    assert "Dice, fold 0" in compared and value in compared
    call("report", *runs, "--out", "pages")
    page = next(tmp_path.glob("pages/study-*/index.html")).read_text()
    assert "Dice" in page and value in page and "twice the overlap" in page
    assert "Dice, mIoU; Dice: mean over the classes of twice" in " ".join(call("protocols", "own").split())
    assert "twice the overlap" in call("list")

    said = call("table", *runs, "--metrics", "Dise", status=2)
    assert "unknown metric 'Dise'; did you mean 'Dice'?" in said and "Traceback" not in said
