"""Runs of one test that share a walk: each record is the one of the run alone, to the byte."""

import json

import pytest

from fsbench.base.errors import NumericsError
from fsbench.methods.dense_probes.linear_probe import LinearProbeDense
from fsbench.networks.backbones.timm_networks import FrozenViT
from fsbench.records.record import read_record
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.identity import shared_walk
from fsbench.runner.engine.run import run, run_together
from tests.fsbench.runner.engine.runs import folder_run

METHODS = ("prototype", "linear_probe_dense", "hummingbird")
EPISODES = 4


@pytest.fixture
def encoded(monkeypatch):
    """Pixels of each image that the frozen network was asked for, in their order."""
    asked, features = [], FrozenViT._features

    def counted(self, model, images):
        asked.append(images)
        return features(self, model, images)

    monkeypatch.setattr(FrozenViT, "_features", counted)
    return asked


def runs_in(folder, images, **options):
    options = {"protocol": "fscs", "episodes": EPISODES, "asked_alone": 1} | options
    return [folder_run(method, images, folder, **options) for method in METHODS]


def made(folder):
    """Return the records of a folder of runs by their names."""
    return {each.name: read_record(each) for each in folder.iterdir() if each.is_dir()}


def files_of(record):
    """Return what a record holds, without the time and memory that its run took."""
    run = json.loads((record.path / "run.json").read_text())
    del run["cost"]["evaluation_seconds"], run["cost"]["episodes_per_second"], run["cost"]["peak_mib"]
    run["cost"].pop("kept_features", None)  # of the last start
    del run["provenance"]["finished"], run["seal"]
    names = ("episodes.parquet", "predictions.parquet", "predictions.png", "manifest.jsonl", "identity.json")
    return run, [(record.path / name).read_bytes() for name in names]


@pytest.mark.slow(4)
def test_records_are_those_of_the_runs_alone_and_each_image_is_encoded_once(small_demo, tmp_path, encoded):
    for one in runs_in(tmp_path / "alone", small_demo, episodes=2):
        run(one)
    alone = made(tmp_path / "alone")
    encoded.clear()
    run_together(run.parse() for run in runs_in(tmp_path / "together", small_demo, episodes=2))
    together = made(tmp_path / "together")
    assert together.keys() == alone.keys() and len(alone) == len(METHODS)
    for name, record in together.items():
        assert files_of(record) == files_of(alone[name])
        assert record.run.cost.peak_mib is None and record.run.cost.episodes_per_second > 0
        log = (record.path / "run.log").read_text()
        assert log.count("evaluation:") == 1, log
    assert len(encoded) == len({image.numpy().tobytes() for image in encoded})


@pytest.mark.slow(15)
@pytest.mark.parametrize("methods", [METHODS[:2], METHODS[1::-1]])
def test_each_gets_features_of_its_own_precision(small_demo, tmp_path, methods):
    """The probe computes in float32 whatever the run's precision is, the prototype in the run's."""
    runs = [
        [folder_run(name, small_demo, tmp_path / folder, "--trainer.precision=bf16-mixed", protocol="fscs", episodes=3)
         for name in methods]
        for folder in ("alone", "together")
    ]  # fmt: skip
    for one in runs[0]:
        run(one)
    run_together(run.parse() for run in runs[1])
    alone, together = made(tmp_path / "alone"), made(tmp_path / "together")
    assert [files_of(together[name]) for name in alone] == [files_of(record) for record in alone.values()]


@pytest.mark.slow(15)
def test_what_fails_ends_all_and_the_runs_by_themselves_go_on(small_demo, tmp_path, monkeypatch):
    answers, answered = LinearProbeDense.answers, []

    def failing(self, episodes):
        answered.append(len(answered))
        if len(answered) > 2:
            raise NumericsError("a logit is NaN")
        return answers(self, episodes)

    runs = runs_in(tmp_path / "runs", small_demo, asked_alone=0)
    with monkeypatch.context() as broken:
        broken.setattr(LinearProbeDense, "answers", failing)
        with pytest.raises(NumericsError, match="a logit is NaN"):
            run_together(run.parse() for run in runs)
    folders = [Experiment(one.parse()).folder for one in runs]
    done = [
        len((folder / "evaluation").glob("part-*.jsonl").__next__().read_text().splitlines()) - 1 for folder in folders
    ]
    assert done == [3, 2, 2]
    for folder in folders:
        assert "a logit is NaN" in (folder / "run.log").read_text()
    first = run(runs[0])
    run_together(run.parse() for run in runs)
    for one in runs_in(tmp_path / "alone", small_demo, asked_alone=0):
        run(one)
    alone, together = made(tmp_path / "alone"), made(tmp_path / "runs")
    assert first.counts_sha256 == together[first.path.name].counts_sha256
    assert [files_of(together[name]) for name in alone] == [files_of(record) for record in alone.values()]


@pytest.mark.slow(3)
def test_what_runs_share_is_the_test_the_network_and_the_machine(small_demo, tmp_path):
    def walk(method="prototype", *extra, **options):
        run = folder_run(method, small_demo, tmp_path, *extra, **{"protocol": "fscs", "episodes": 2} | options)
        return shared_walk(Experiment(run.parse()))

    own = walk()
    assert own is not None and walk("linear_probe_dense") == own
    others = (dict(shot=2), dict(image_size=64), dict(weights="random"))
    found = [walk(**options) for options in others]
    assert None not in found and len({own, *found}) == len(others) + 1
    assert walk("prototype", "--run.tf32=true") != own
    assert walk("emat") is None and walk("prototype", devices=2) is None
    assert walk("prototype", "--trainer.logger=true") is None
