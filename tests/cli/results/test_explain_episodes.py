"""`fsbench explain RUN… --episode N`: contact sheets of single episodes, and the numbers beside them."""

import json
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.core.released_format import WRITTEN_BY
from fsbench.pages.explain.episode_panels import KEYS
from fsbench.pages.explain.episodes import compare_episodes
from fsbench.records.record import Record
from fsbench.results.pictures.sheet import CAPTION
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run_experiment
from tests.cli.commands import images_of
from tests.config_words import config_words, parse

OWN = {
    "emat": {"looks from", "attention", "without the mask"},
    "dcama": {"looks from", "attention"},
    "hmnet": set(),
    "prototype": {"similarity", "similarity to the background"},
    "insid3": {"clusters", "similarity", "candidates", "cluster scores"},
    "fssdino": {f"{name}{of}" for name in ("prototypes", "cosine", "Gram map") for of in ("", " of the background")},
}
"""Figures that only these methods have."""


@pytest.fixture(scope="module")
def made(small_demo, tmp_path_factory):
    """made(method, *options) -> the finished run of a method with random weights."""
    folder, runs = tmp_path_factory.mktemp("runs"), {}

    def make(method: str, *options: str) -> Record:
        if (method, options) not in runs:
            extra = ["--data.test.episodes=6", "--data.loading.workers=0", "--data.test.empty=false",
                     "--trainer.accelerator=cpu",
                     "--trainer.enable_progress_bar=false", *images_of(small_demo), *options]  # fmt: skip
            given = config_words(RunConfig(method, "demo", fold=0, runs=str(folder), extra=extra))
            experiment = Experiment(parse(given))
            if experiment.method.learns:
                weights = folder / f"{method}.ckpt"
                torch.save(
                    {"state_dict": experiment.method.state_dict(), WRITTEN_BY: experiment.method.describe()}, weights
                )
                experiment = Experiment(parse([*given, f"--run.checkpoint={weights}"]))
            runs[method, options] = run_experiment(experiment)
        return runs[method, options]

    return make


@pytest.mark.slow(4)
def test_every_method_side_by_side(made, tmp_path, capsys):
    methods = ["prototype", "emat", "dcama"]
    records = {method: made(method) for method in methods}
    folders = [str(record.path) for record in records.values()]
    arguments = ["--episode", "4", "--episode", "1", "--out", str(tmp_path / "out")]
    assert main(["explain", *folders, *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out.count(" present") == 6
    with Image.open(tmp_path / "out/episode-000004.png") as sheet:
        below = sheet.height - 4 * (200 + CAPTION + 4) - 4  # the key: errors, soft mask, the methods' attention
        assert below % CAPTION == 0 and below >= 7 * CAPTION
        assert np.asarray(sheet.convert("L"))[-below:].min() < 64, "words"
    numbers = json.loads((tmp_path / "out/episodes.json").read_text())
    assert [(line["episode"], line["method"]) for line in numbers] == [(n, m) for n in (1, 4) for m in methods]
    for line in numbers:
        counts = records[line["method"]].episodes.filter(episode=line["episode"], slot=1).to_dicts()[0]
        union = counts["pred"] + counts["gt"] - counts["tp"] + counts["pred_void"]  # fscs counts void as background
        assert line["iou"] == [counts["tp"] / union] and line["present"] == [counts["decided"]]
        assert line["score"] == [pytest.approx(counts["score"])]


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=() if name == "prototype" else pytest.mark.slow(2)) for name in ["cst", "hsnet", *OWN]],
)
def test_what_a_method_shows_of_itself(made, method):
    episodes, notes = compare_episodes([made(method).path], [2], None)
    (answer,) = episodes[2].predictions.values()
    captions = [caption for caption, _ in answer.panels]
    assert all(any(part in caption for part in KEYS) for caption in captions[2:]), "a key says what each one shows"
    soft = [] if method == "insid3" else ["soft mask"]  # its masks are hard
    assert notes == [] and captions[1].startswith("IoU ") and captions[2 : 2 + len(soft)] == soft
    assert {c for c in captions[2 + len(soft) :] if not c.startswith("removed")} == OWN.get(method, set())
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for _, picture in answer.panels)


@pytest.mark.parametrize(
    ("method", "options"),
    [("prototype", ()), pytest.param("emat", ("--data.test.way=2", "--data.test.shot=2"), marks=pytest.mark.slow(9))],
)
def test_a_run_of_any_method_is_explained_by_some_of_its_episodes(made, method, options, tmp_path, capsys):
    record, out = made(method, *options), tmp_path / "out"
    assert main(["explain", str(record.path), "--episodes", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and f"{out}: episodes.png, explain.json" in printed.out
    drawn = json.loads((out / "explain.json").read_text())["drawn"]
    assert [line["episode"] for line in drawn] == [0, 2, 5]  # evenly over six
    for line in drawn:
        counts = record.episodes.filter((pl.col("episode") == line["episode"]) & (pl.col("slot") > 0))
        assert line["present"] == counts["decided"].to_list() and len(line["iou"]) == len(counts)
    with Image.open(out / "episodes.png") as sheet:
        below = sheet.height - 6 * (200 + CAPTION + 4) - 4
        assert below >= 2 * CAPTION and np.asarray(sheet.convert("L"))[-below:].min() < 64


@pytest.mark.slow(4)
def test_several_ways_and_shots(made):
    record = made("emat", "--data.test.way=2", "--data.test.shot=2")
    shown = compare_episodes([record.path], [0], None)[0][0]
    assert len(shown.classes) == 2 and [c.split(":")[0] for c, _ in shown.panels[:4]] == ["support 1", "support 2"] * 2
    (answer,) = shown.predictions.values()
    assert [c for c, _ in answer.panels[2:]] == ["soft mask 1", "soft mask 2"] and len(answer.iou) == 2


@pytest.mark.slow
def test_episodes_that_no_score_counts_say_so(made, tmp_path, capsys):
    own = ["test.empty=true", "test.drop_small=true", "image_size=64", "test.draws=2"]
    record = made("prototype", "--data.test.protocol=presence", *(f"--data.{setting}" for setting in own))
    number = next(one.number for one in record.manifest.episodes if one.calibrates)
    arguments = [str(record.path), "--episodes", f"{number},7,0", "--out", str(tmp_path / "out")]
    assert main(["explain", *arguments]) == 0
    counted, drawn, calibrates = [line for line in capsys.readouterr().out.splitlines() if line.startswith("episode ")]
    assert calibrates.endswith(" (only calibrates: not counted in any score)") and "not counted" not in counted
    assert drawn.endswith(" (draw 1 of episode 1: not counted in any score)")
    lines = json.loads((tmp_path / "out/episodes.json").read_text())
    assert [(line["episode"], line.get("not_counted")) for line in lines] == [
        (0, None), (7, "draw 1 of episode 1"), (number, "only calibrates")
    ]  # fmt: skip
    assert main(["explain", str(record.path), "--figure", str(tmp_path / "a.pdf"), "--episodes", f"0,{number}"]) == 2
    assert f"episode {number} only calibrates and is no part of the test" in capsys.readouterr().err


def test_a_selection_has_the_numbers_of_its_list(made, tmp_path):
    """Episodes of a manifest from the explorer keep their numbers, which then have gaps."""
    record = made("prototype")
    chosen = tuple(record.manifest.episodes[place] for place in (1, 4))
    entries = record.manifest.entries | {"episodes": 2, "requested": 2}
    manifest = replace(record.manifest, entries=entries, episodes=chosen)
    manifest.write(tmp_path / "two.jsonl")
    two = made("prototype", f"--data.test.manifest={tmp_path / 'two.jsonl'}", "--data.test.episodes=2")
    assert compare_episodes([two.path], [4], None)[0].keys() == {4}
    with pytest.raises(SettingsError, match=r"--episode is 2, expected one of the 2 of this list: 1, 4"):
        compare_episodes([two.path], [2], None)


def test_refusals(made, tmp_path, capsys):
    one, other = made("prototype").path, made("prototype", "--data.test.way=2", "--data.test.shot=2").path
    for arguments, said in (
        ([one, other, "--episode", "0"], "are not on the same episodes; expected runs of one task"),
        ([one, "--episode", "6"], "--episode is 6, expected 0 to 5"),
        ([one, other], "2 runs were given; expected one, or --episode N"),
        ([tmp_path, "--episode", "0"], f"{tmp_path} is no finished run"),
        ([one, "--figure", tmp_path / "a.jpg"], "expected a file that ends in .pdf, .svg, .png"),
        ([one, "--figure", tmp_path / "a.pdf", "--episodes", "0,9"], "--episode is 9, expected 0 to 5"),
        ([one, "--figure", tmp_path / "a.pdf", "--episodes", "17"], "17 episodes were asked for, expected at most 16"),
    ):
        assert main(["explain", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.strip().splitlines()) == 1


def test_counts_that_are_not_the_records_are_said(made, capsys, tmp_path, monkeypatch):
    record = made("prototype")
    real = Record.every_episode.func
    monkeypatch.setattr(
        Record, "every_episode", property(lambda self: real(self).with_columns(tp=real(self)["tp"] + 1))
    )
    assert main(["explain", str(record.path), "--episode", "0", "--out", str(tmp_path)]) == 0
    assert "prototype: episode 0 gives other counts now than in the record" in capsys.readouterr().err


@pytest.mark.slow(4)
def test_a_figure_from_stored_predictions(made, tmp_path, capsys, monkeypatch):
    records = [made("prototype"), made("emat")]
    monkeypatch.setattr(Experiment, "__init__", None)  # no method is built
    out = tmp_path / "new" / "paper.svg"
    folders = [str(record.path) for record in records]
    assert main(["explain", *folders, "--figure", str(out), "--episodes", "3,1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].startswith(f"{out}: 2 episodes, ")
    text = out.read_text()
    root = ElementTree.fromstring(text)
    words = ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for record, line, label in zip(records, printed, ("prototype", "emat"), strict=False):
        values = []
        for episode in (3, 1):
            counts = record.episodes.filter(episode=episode, slot=1).to_dicts()[0]
            values.append(100 * counts["tp"] / (counts["pred"] + counts["gt"] - counts["tp"] + counts["pred_void"]))
            assert f"IoU {values[-1]:.1f}" in words
        assert line.split() == [label, "IoU", "3:", f"{values[0]:.2f},", "1:", f"{values[1]:.2f}"]
    assert [word for word in words if word in ("support", "truth", "prototype", "emat", "errors")] == [
        "support", "truth", "prototype", "errors", "emat", "errors",
    ]  # fmt: skip
    assert text.count("<image") == 2 * 6 and sum(word.startswith(("3: ", "1: ")) for word in words) == 2
    assert words[-3:] == ["right", "false alarm", "missed"]


def test_a_figure_chooses_episodes_and_shows_ways(made, tmp_path, capsys):
    record = made("prototype", "--data.test.way=2", "--data.test.shot=2")
    out = tmp_path / "paper.pdf"
    assert main(["explain", str(record.path), "--figure", str(out), "--episodes", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{out}: 3 episodes, ")
    assert out.read_bytes().count(b"/Subtype /Image") == 3 * 5, "two supports, truth, prediction, errors"


def test_a_figure_needs_predictions(made, tmp_path, capsys):
    copied = shutil.copytree(made("prototype").path, tmp_path / "run")
    (copied / "predictions.parquet").unlink()
    assert main(["explain", str(copied), "--figure", str(tmp_path / "paper.png")]) == 2
    assert "kept no predictions, of which a figure is made; run it again" in capsys.readouterr().err
    assert not (tmp_path / "paper.png").exists()
