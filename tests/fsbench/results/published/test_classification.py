"""Classification beside its paper, and the notes on intervals under its tables."""

import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fsbench.cli.main import main
from fsbench.data.dataset import ClassificationData
from fsbench.data.episodes.task import ClassificationTask
from fsbench.protocols.reading import load_protocol
from fsbench.records.counts import to_frame
from fsbench.records.record import Record
from fsbench.results.published.match import match_published
from fsbench.results.published.scores import FOLDER
from fsbench.results.sheets.formats import FORMATS
from fsbench.scores.classification import ClassificationResult
from fsbench.scores.estimate import Estimate
from tests.fsbench.runs import written


class ListedImages(ClassificationData):
    """30 classes of `size` images each, from lists of this origin."""

    name = "cub"

    def __init__(self, size, origin):
        self.class_names = tuple(f"class {n}" for n in range(30))
        self.images = (tuple(map(str, range(size))),) * 30
        self.origin = origin

    def image_path(self, name):
        return Path(name)


@cache
def answered(size, origin, **task):
    """The manifest of a task and the counts of answers that are all right, both of 50 episodes at most: what was asked
    for is in the header. Runs that differ in more share both."""
    few = ClassificationTask(**task | {"episodes": min(task["episodes"], 50)})
    drawn = load_protocol("fort").manifest(ListedImages(size, origin), few)
    manifest = replace(drawn, entries=drawn.entries | {"requested": task["episodes"]})
    right = np.arange(20).repeat(task["queries"]).reshape(20, -1)
    rows = [
        row
        for e in manifest.episodes
        for row in ClassificationResult(e.number, tuple(c + 1 for c in e.classes), right).rows()
    ]
    return manifest, to_frame(rows, manifest)


@pytest.fixture
def classified(tmp_path):
    """classified(method, backbone, sizes, **task) -> a record of 20-way 1-shot episodes of "cub", all answers right."""

    def make(
        method, backbone="dino_vitb16", smallest=50, remarks=None, lists="derived", image_size=224, precision="32-true",
        **task,
    ) -> Record:  # fmt: skip
        settings = {"way": 20, "shot": 1, "queries": 15, "episodes": 2000, "seed": 0, "min_class_size": None} | task
        manifest, counts = answered(smallest, lists, **settings)
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        manifest.write(folder / "manifest.jsonl")
        identity = {
            "method": {"name": "m", **method}, "backbone": {"name": backbone, "weights": "official"}, "fold": 0,
            "seed": 0, "image_size": image_size, "manifest_sha256": manifest.sha256, "training": None,
            "precision": precision, "tf32": False,
        }  # fmt: skip
        cost = {"trainable_parameters": 0, "episodes_per_second": 1.0, "peak_mib": 1.0}
        run = {"id": folder.name, "identity": identity, "presence": "predicted", "cost": cost, "remarks": remarks or []}
        return written(folder, counts, **run)

    return make


def test_classification_beside_its_paper(classified, figures):
    def beside_it(record, value=58.0):
        own = Estimate(value, value - 0.1, value + 0.1, error=0.05, df=1e9)
        return match_published("m", "all", {"accuracy": own}, [record], figures)

    solver = {"type": "frozenclassifier", "solver": "metaoptnet"}
    with (FOLDER / "fort.csv").open(newline="") as file:
        printed = {
            float(row["value"])
            for row in csv.DictReader(file)
            if (row["method"], row["backbone"], row["dataset"], row["shot"])
            == ("MetaOptNet", "DINO ViT-B/16 IN1K", "CUB", "1")
        }
    found = beside_it(classified(solver))
    assert {item.reported.value for item in found} == printed and all(item.difference is not None for item in found)

    def why(*arguments, **task):
        found = beside_it(classified(*arguments, **task))
        of_backbone = [item for item in found if "dino_vitb16" in item.reported.backbones]
        (verdict,) = {item.verdict if item.difference is None else "" for item in of_backbone}
        return verdict.removeprefix("not comparable: ")

    assert why(solver, smallest=40) == "--data.test.min_class_size none instead of 50"
    assert why(solver, smallest=40, min_class_size=50) == ""
    assert why(solver, episodes=3) == "episodes 3 instead of 2000"
    assert why(solver, queries=5) == "queries 5 instead of 15"
    assert why(solver, lists="given, incomplete") == "listed images incomplete instead of complete"
    assert why(solver, lists="given") == ""
    assert why(solver, image_size=128) == "image size 128 instead of 224"
    assert why(solver, precision="bf16-mixed") == "precision bf16-mixed instead of 32-true"
    for value, verdict in ((57.2, "above"), (57.18, "not told apart"), (56.8, "below"), (56.83, "not told apart")):
        (item,) = [item for item in beside_it(classified(solver), value) if item.reported.value == 57.0]
        assert item.verdict == verdict  # 57.0 may be 57.05; 57.05 + 1.96 * sqrt(2) * 0.05 is 57.189
    doubtful = [f for f in figures if f.doubt and f.protocol == "fort"]
    assert {f.dataset for f in doubtful if "CLIP" not in f.backbone} == {"aircraft", "pets"}
    clip = [f for f in figures if f.method == "MetaOptNet" and "CLIP" in f.backbone]
    assert len(clip) == 8 and {f.doubt for f in clip} == {"whether CLIP's features were normalised was never released"}
    tuned = {"type": "finetuned", "tuning": "lora", "head": "metaoptnet", "temperature": 20.0}
    assert "are not published" in why(tuned | {"alpha": 0.5}, remarks=["hyper-parameters are not published"])
    names = {
        alpha: {item.reported.method for item in beside_it(classified(tuned | {"alpha": alpha}))}
        for alpha in (0.0, 0.5)
    }
    assert names == {0.0: {"LoRA"}, 0.5: {"LoRA+FORT"}}


@pytest.mark.slow(1)
@pytest.mark.parametrize(("command", "forms"), [("table", FORMATS), ("compare", ("text", "markdown", "latex", "json"))])
def test_intervals_of_classification_are_about_other_images(classified, tmp_path, capsys, command, forms):
    """All answers are right: the interval is that of Clopper and Pearson with the smaller number of images."""
    for solver in ("nn", "svm"):
        record = classified({"type": "frozenclassifier", "solver": solver, "name": solver}, episodes=49, queries=1)
    images = [
        len({(c, place) for e in record.manifest.episodes for c, places in zip(e.classes, shown(e), strict=True)
             for place in places})
        for shown in (lambda e: e.query, lambda e: e.support)
    ]  # fmt: skip
    for form in forms:
        given = ["--metrics", "accuracy"] if command == "compare" else ["--no-trivial"]
        assert main([command, str(tmp_path), *given, "--format", form]) == 0
        text = capsys.readouterr().out
        if command == "compare":
            assert "identical" in text, form
        elif form == "json":
            (block,) = json.loads(text)
            score = block["rows"][0]["scores"]["accuracy"]
            assert score["queries"] == images[0] and score["supports"] <= images[1]  # some always stand together
            least = min(score["queries"], score["supports"])
            assert score["low"] == pytest.approx(100 * 0.025 ** (1 / least)) and score["high"] == 100
        elif form != "csv":
            assert "other images of these classes" in text, form
