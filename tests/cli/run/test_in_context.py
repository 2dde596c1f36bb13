"""The in-context protocol through the real command line: parts of objects, and the real samples of its data sets."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
import torch

from fsbench.cli.main import main
from fsbench.core.released_format import WRITTEN_BY
from fsbench.data.episodes.manifest import read_manifest
from fsbench.records.record import Record, find_records
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from tests.cli.commands import images_of
from tests.cli.conftest import environment_of_test
from tests.cli.many_cells import settings_text
from tests.cli.processes import the_record
from tests.config_words import config_words, parse
from tests.datamodules.datasets.test_object_annotations import lvis, pascal_part
from tests.goldens.kinds.incontext import pascal_part_folder
from tests.goldens.test_goldens import HERE

TINY = ["--backbone", "demo", "--data.image_size=64", "--data.loading.workers=0"]
SMALL = ["--method", "prototype", *TINY, "--data.test.episodes=6"]


def evaluated(runs: Path, side: int) -> Record:
    """The record of the one run, whose every episode has side x side pixels."""
    record = the_record(runs)
    pixels = record.episodes["void"] + record.episodes["valid"]
    assert set(pixels.to_list()) == {side * side} and record.header.episodes == 6
    return record


@pytest.mark.slow
def test_parts_of_objects_are_tested_under_their_own_protocol(warm, tmp_path):
    data = json.loads((HERE / "incontext" / "pascal_part_2shot.json").read_text())
    dataset = pascal_part_folder(tmp_path / "data", data)
    place = ["--dataset", "pascal_part", "--data-root", str(dataset.root), "--runs", str(tmp_path / "runs")]
    done = warm("bench", *SMALL, *place, "--shot", "2")
    assert done.returncode == 0, done.stderr
    record = evaluated(tmp_path / "runs", 1024)
    assert record.header.protocol == "incontext" and [*record.header.class_names.values()] == data["class_names"]
    found = [(e.query.partition("@")[0], e.query_class - 1) for e in record.manifest.episodes]
    assert found == [(e["query"], e["class_id"]) for e in data["episodes"][:6]]


def test_a_list_of_parts_is_frozen_and_verified(tmp_path, capsys):
    """Views whose mask has no pixels inside the box are among them, as the authors' programs accept these."""
    data = json.loads((HERE / "incontext" / "pascal_part_2shot.json").read_text())
    dataset = pascal_part_folder(tmp_path / "data", data)
    place = ["--dataset", "pascal_part", "--data-root", str(dataset.root)]
    for more in ([], ["--names-only"]):
        file = tmp_path / f"episodes{len(more)}.jsonl.gz"
        task = ["--protocol", "incontext", "--shot", "2", "--out", str(file), *more]
        assert main(["data", "manifest", "build", *place, *task]) == 0
        assert "95 episodes, pascal_part fold 0, 1-way 2-shot" in capsys.readouterr().out
        assert main(["data", "manifest", "verify", str(file), *place]) == 0
        assert "the local lists draw the same episodes" in capsys.readouterr().out
    episodes = read_manifest(file).episodes
    assert any(dataset.class_pixels(e.query)[0][e.query_class] == 0 for e in episodes)


@pytest.mark.slow
def test_real_samples_are_tested_under_incontext(warm, tmp_path, real_data):
    place = ["--dataset", "fss1000", "--data-root", str(real_data / "fss1000-mini"), "--runs", str(tmp_path / "runs")]
    done = warm("bench", *SMALL, *place, "--protocol", "incontext518", "--data.dataset.test_only=true")
    assert done.returncode == 0, done.stderr
    record = evaluated(tmp_path / "runs", 518)
    assert all(episode.query_class in record.header.class_ids for episode in record.manifest.episodes)


def _name(record: Record) -> str:
    return record.path.name.partition("-")[0]


@pytest.mark.slow
def test_training_free_methods_are_tabled_and_drawn_under_each_protocol_on_real_photos(warm, tmp_path, real_data):
    """Each protocol's table and the figure have all methods, with the scores that follow from the counts."""
    methods, runs = ["prototype", "linear_probe_dense"], tmp_path / "runs"
    few = [*TINY, "--data.test.episodes=3", "--drop-small", "--weights", "random", "--protocol", "incontext,hsnet"]
    place = ["--dataset", "pascal", "--data-root", str(real_data / "voc-mini"), "--runs", str(runs)]
    done = warm("bench", "--method", ",".join(methods), *few, *place)
    assert done.returncode == 0, done.stderr
    *blocks, together = re.split(r"(?m)^(?=pascal ·)", done.stdout)[1:]
    assert ["incontext" in blocks[0], "hsnet" in blocks[1]] == [True, True]
    for record in find_records(runs):  # the test as a column
        score = f"{record.scores['mIoU']:.2f} "
        assert re.search(rf"(?m)^{_name(record)} +protocol {record.header.protocol} .* {score}", together)
    for block, protocol, side in zip(blocks, ("incontext", "hsnet"), (1024, 64), strict=True):
        of_protocol = [record for record in find_records(runs) if record.header.protocol == protocol]
        assert len(of_protocol) == len(methods)
        for record in of_protocol:
            assert set((record.episodes["void"] + record.episodes["valid"]).to_list()) == {side**2}
            assert record.episodes.filter(pl.col("slot") == 1)["gt"].min() > 0  # the query shows the class
            assert re.search(rf"(?m)^{_name(record)} +{record.scores['mIoU']:.2f}[ !]", block)
    figure = tmp_path / "figure.png"
    done = warm("explain", *(str(record.path) for record in of_protocol), "--figure", str(figure))
    assert done.returncode == 0 and figure.stat().st_size > 10_000, done.stderr
    for record in of_protocol:
        ways = record.episodes.filter(pl.col("slot") == 1)
        drawn = re.search(rf"(?m)^{_name(record)} +IoU (.*)$", done.stdout)[1]
        counted = 100 * ways["tp"] / (ways["pred"] + ways["gt"] - ways["tp"])
        expected = {f"{episode}: {value:.2f}" for episode, value in zip(ways["episode"], counted, strict=True)}
        assert set(drawn.split(", ")) == expected


def test_files_of_another_version_are_one_line_of_the_check(tmp_path, capsys):
    data = pascal_part(tmp_path / "parts")
    assert main(["data", "check", "pascal_part", "--root", str(data.root)]) == 1  # two folds have no class
    printed = capsys.readouterr().out
    assert (
        "1 classes; the official data have 31" in printed and "fold 1 has no class with more than 1 images" in printed
    )
    lvis(tmp_path / "lvis", [1])
    assert main(["data", "check", "lvis", "--root", str(tmp_path / "lvis")]) == 1
    printed = capsys.readouterr().out
    assert "lvis_val.pkl is of another version: " in printed
    assert main(["data", "prepare", "paco_part", "--root", str(tmp_path / "paco")]) == 2
    printed = capsys.readouterr().err
    assert "no paco/paco_part_train.pkl in" in printed and "https://github.com/aim-uofa/Matcher" in printed


INCONTEXT, FSCS = {"protocol": "incontext", "way": 1, "shot": 5}, {"protocol": "fscs", "way": 2, "shot": 5}
ANY_PROTOCOL = {
    **{name: [INCONTEXT | {"shot": 1}] for name in ("emat", "hmnet")},
    **{
        name: [INCONTEXT, FSCS] for name in ("insid3", "gf_sam", "seggpt", "sam3_canvas", "sam3_exemplars", "universeg")
    },
    "sansa": [INCONTEXT],
}
"""Method -> tasks other than its authors': trained ones in context, training-free ones with several ways and shots.

One for each way to come to a mask's size: of tokens, of a pyramid, of clusters, of a promptable network, of colours, of
a canvas, of single detections, of a U-Net and of a video's memory.
"""


@pytest.mark.slow
def test_methods_stand_beside_each_other_under_each_protocol(warm_process, small_demo, tmp_path):
    """Random weights: that each answers every episode at the size that the protocol counts at."""
    few = [*images_of(small_demo), "--data.test.episodes=2", "--data.loading.workers=0", "--trainer.accelerator=cpu"]
    plan = []
    for method, tasks in ANY_PROTOCOL.items():
        for task in tasks:
            given = RunConfig(method, "demo", fold=0, runs=str(tmp_path / "runs"), extra=few, **task)
            plan.append(config_words(given))
        experiment = Experiment(parse(plan[-1]))
        if experiment.method.learns:
            weights = tmp_path / f"{method}.ckpt"
            written = {"state_dict": experiment.method.state_dict(), WRITTEN_BY: experiment.method.describe()}
            torch.save(written, weights)
            plan[-1].append(f"--run.checkpoint={weights}")
    (tmp_path / "cells.plan").write_text(settings_text([parse(words, build=False).config for words in plan]))
    plan_file, environments = str(tmp_path / "cells.plan"), [environment_of_test(tmp_path)]
    (done,) = warm_process.call_ranks([plan_file], tmp_path, environments, program="tests.cli.many_cells")
    assert done.returncode == 0, done.stderr
    found = {}
    for record in find_records(tmp_path / "runs"):
        task = {name: getattr(record.header, name) for name in INCONTEXT}
        found.setdefault(record.run.identity.method.name, []).append(task)
        sizes = set((record.episodes["void"] + record.episodes["valid"]).to_list())
        assert (sizes == {1024**2}) == (task["protocol"] == "incontext"), (record.path.name, sizes)
        ways, anything = record.episodes.filter(pl.col("slot") > 0), record.episodes.filter(pl.col("slot") == 0)
        assert len(ways) == 2 * task["way"] and len(anything) == 2, record.path.name
        labelled = ways.group_by("episode", maintain_order=True).agg(pl.col("pred").sum())["pred"]
        assert labelled.to_list() == anything["pred"].to_list(), record.path.name  # a pixel has one label
    in_order = {name: sorted(tasks, key=lambda task: task["protocol"], reverse=True) for name, tasks in found.items()}
    assert in_order == ANY_PROTOCOL
