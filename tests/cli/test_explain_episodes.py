"""`fsbench explain RUN… --episode N`: contact sheets of single episodes, and the numbers beside them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fsbench.cli.main import main
from fsbench.config.compose import parse
from fsbench.config.request import Request
from fsbench.core.released_format import WRITTEN_BY
from fsbench.engine.experiment import Experiment
from fsbench.engine.runner import run
from fsbench.explain.episodes import compare_episodes
from fsbench.records.record import Record

OWN = {
    "emat": {"looks from", "attention", "without the mask"},
    "dcama": {"1/8 sum", "1/8 Otsu", "1/16 sum", "1/16 Otsu", "1/32 sum", "1/32 Otsu"},
    "hmnet": {"block 1: state ~ support"},
}
"""Figures that only these methods have."""


@pytest.fixture(scope="module")
def made(small_demo, tmp_path_factory):
    """made(method, *options) -> the finished run of a method with random weights."""
    folder, runs = tmp_path_factory.mktemp("runs"), {}

    def make(method: str, *options: str) -> Record:
        if (method, options) not in runs:
            extra = ["--data.episodes=6", "--data.workers=0", "--data.empty_masks=false", "--trainer.accelerator=cpu",
                     "--trainer.enable_progress_bar=false", "--data.dataset=datamodules.datasets.folder.Folder",
                     f"--data.dataset.root={small_demo}", *options]  # fmt: skip
            given = Request([method], "demo", [0], str(folder), extra=extra).arguments(method, 0)
            experiment = Experiment(parse(given))
            if experiment.method.learns:
                weights = folder / f"{method}.ckpt"
                torch.save(
                    {"state_dict": experiment.method.state_dict(), WRITTEN_BY: experiment.method.describe()}, weights
                )
                experiment = Experiment(parse([*given, f"--run.checkpoint={weights}"]))
            runs[method, options] = run(experiment)
        return runs[method, options]

    return make


def test_every_method_side_by_side(made, tmp_path, capsys):
    methods = ["prototype", "emat", "cst", "dcama", "hsnet"]
    records = {method: made(method) for method in methods}
    folders = [str(record.path) for record in records.values()]
    arguments = ["--episode", "4", "--episode", "1", "--out", str(tmp_path / "out")]
    assert main(["explain", *folders, *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out.count(" present") == 10
    with Image.open(tmp_path / "out/episode-000004.png") as sheet:
        assert sheet.height == 6 * (200 + 16 + 4) + 4
    numbers = json.loads((tmp_path / "out/episodes.json").read_text())
    assert [(line["episode"], line["method"]) for line in numbers] == [(n, m) for n in (1, 4) for m in methods]
    for line in numbers:
        counts = records[line["method"]].episodes.filter(episode=line["episode"], slot=1).to_dicts()[0]
        union = counts["pred"] + counts["gt"] - counts["tp"] + counts["pred_void"]  # fscs counts void as background
        assert line["iou"] == [counts["tp"] / union] and line["present"] == [counts["decided"]]
        assert line["score"] == [pytest.approx(counts["score"])]


@pytest.mark.parametrize("method", ["prototype", "cst", "hsnet", *OWN])
def test_what_a_method_shows_of_itself(made, method):
    episodes, notes = compare_episodes([made(method).path], [2], None)
    (answer,) = episodes[2].predictions.values()
    captions = [caption for caption, _ in answer.panels]
    assert notes == [] and captions[1].startswith("IoU ") and captions[2] == "soft mask"
    assert {c for c in captions[3:] if not c.startswith("removed")} == OWN.get(method, set())
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for _, picture in answer.panels)


def test_several_ways_and_shots(made):
    record = made("emat", "--data.way=2", "--data.shot=2")
    shown = compare_episodes([record.path], [0], None)[0][0]
    assert len(shown.classes) == 2 and [c.split(":")[0] for c, _ in shown.panels[:4]] == ["support 1", "support 2"] * 2
    (answer,) = shown.predictions.values()
    assert [c for c, _ in answer.panels[2:]] == ["soft mask 1", "soft mask 2"] and len(answer.iou) == 2


def test_refusals(made, tmp_path, capsys):
    one, other = made("prototype").path, made("emat", "--data.way=2", "--data.shot=2").path
    for arguments, said in (
        ([one, other, "--episode", "0"], "are not on the same episodes; expected runs of one task"),
        ([one, "--episode", "6"], "--episode is 6, expected 0 to 5"),
        ([one, other], "2 runs were given; expected one, or --episode N"),
        ([tmp_path, "--episode", "0"], f"{tmp_path} is no finished run"),
    ):
        assert main(["explain", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.strip().splitlines()) == 1


def test_counts_that_are_not_the_records_are_said(made, capsys, tmp_path, monkeypatch):
    record = made("prototype")
    real = Record.episodes.func
    monkeypatch.setattr(Record, "episodes", property(lambda self: real(self).with_columns(tp=real(self)["tp"] + 1)))
    assert main(["explain", str(record.path), "--episode", "0", "--out", str(tmp_path)]) == 0
    assert "prototype: episode 0 has other counts now than in the record" in capsys.readouterr().err
