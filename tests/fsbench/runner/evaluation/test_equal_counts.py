"""The doors count alike: a method as an object, and masks of a run, exported and scored, have its counts to the bit."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fsbench.base.errors import FsbenchError
from fsbench.core.answering import answering
from fsbench.core.released_format import WRITTEN_BY
from fsbench.protocols.kit.answers import Answers
from fsbench.protocols.reading import load_protocol, protocol_names
from fsbench.protocols.test import Test
from fsbench.records.predictions import read_predictions
from fsbench.records.record import Record
from fsbench.runner.config.registry import names_by_task
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.config.tests import load_test
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run_experiment
from fsbench.runner.evaluation.evaluate import evaluate
from fsbench.runner.evaluation.score import score
from tests.cli.run.test_exactness import METHODS, protocol_of
from tests.config_words import config_words, parse
from tests.methods.contract_settings import OPTIONS
from tests.photos import arguments

FEW = [
    "--data.test.episodes=4",
    "--data.training.validation_episodes=1",
    "--data.loading.workers=0",
    "--trainer.enable_progress_bar=false",
]
DROPPING = ["--data.test.drop_small=true"]
FOLDER = "--data.dataset=fsbench.datamodules.datasets.folder.Folder"


def experiment(method: str, folder: Path, *options: str, dataset: str = "demo", **request: Any) -> Experiment:
    """Return an experiment with random weights, whose runs, and weights where it learns, stand in `folder`."""
    given = RunConfig(method, dataset, fold=0, runs=str(folder / "runs"), extra=[*FEW, *options], **request)
    words = config_words(given)
    built = Experiment(parse(words))
    if not built.method.learns:
        return built
    weights = folder / "weights.ckpt"
    torch.save({"state_dict": built.method.state_dict(), WRITTEN_BY: built.method.describe()}, weights)
    return Experiment(parse([*words, f"--run.checkpoint={weights}"]))


def as_asked(mask: np.ndarray, size: tuple[int, int], test: Test) -> np.ndarray:
    """Return the answer of `size` that the protocol brings to the counted `mask`."""
    if mask.shape == size:
        return mask
    taken = test.protocol.view.fit(np.arange(np.prod(size)).reshape(size), mask.shape)
    answer = np.zeros(size, np.uint8)
    answer.flat[taken.ravel()] = mask.ravel()
    return answer


def export_masks(record: Record, test: Test, answers: Answers) -> None:
    """Write the stored predictions of a run of segmentation to a file of answers."""
    stored = read_predictions(record)
    for episode in test:
        decided, sure = stored.presence(episode.number) if record.run.presence == "predicted" else (None, None)
        mask = as_asked(stored.label_map(episode.number), episode.size, test)
        answers.add(episode.number, mask, decided, sure)


def named_ways(built: Experiment) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of each episode and the way from 1 of each query, of which a run keeps the counts alone."""
    protocol = built.data.protocol
    built.data.done = frozenset()
    with answering(built.method, built.data) as answerer:
        for batch in built.data.test_dataloader():
            seen, truths = protocol.part(batch)
            for truth, answer in zip(truths, answerer(seen), strict=True):
                yield truth.episode, np.asarray(answer) + 1


def same_counts(other: Record, record: Record) -> None:
    columns = [name for name in record.every_episode.columns if name != "failed"]
    assert [name for name in other.every_episode.columns if name != "failed"] == columns
    for name in columns:
        assert other.every_episode[name].equals(record.every_episode[name], check_dtypes=True), name
    assert other.scores == record.scores and other.run.presence == record.run.presence


def check_scored(built: Experiment, folder: Path, dataset: str, **place: Any) -> Record:
    """Run an experiment; its answers, exported and scored, have the counts of the run in every column.

    So has its method as an object, where one can answer a test.
    """
    method = copy.deepcopy(built.method)
    record = run_experiment(built)
    test = load_test(dataset, manifest=record.path / "manifest.jsonl", image_size=built.data.image_size, **place)
    assert test.manifest.sha256 == record.manifest_sha256
    if test.protocol.has_masks and not method.needs.before_test:
        seen = {"image_size": built.data.image_size, "input_resize": built.data.input_resize}
        asked = evaluate(method, test, name="object", runs=folder / "objects", progress=False, **seen).record
        same_counts(asked, record)
    with Answers(folder / "answers.fsa", record.manifest_sha256) as answers:
        if test.protocol.has_masks:
            export_masks(record, test, answers)
        else:
            for number, labels in named_ways(built):
                answers.add(number, labels=labels)
    scored = score(folder / "answers.fsa", test, name="again", runs=folder / "scored", progress=False).record
    same_counts(scored, record)
    assert scored.every_draw.equals(record.every_draw.select(scored.every_draw.columns))
    return scored


def check_on_scenes(method: str, scenes: Path, folder: Path, *options: str) -> Record:
    built = experiment(method, folder, FOLDER, f"--data.dataset.root={scenes}", *options)
    return check_scored(built, folder, "folder", root=scenes)


@pytest.mark.parametrize(
    ("method", "options", "presence"),
    [
        ("prototype", ["--data.test.protocol=hsnet", "--data.image_size=64"], "predicted"),
        pytest.param(
            "prototype", ["--data.test.protocol=presence", "--data.image_size=64", *DROPPING], "predicted",
            marks=pytest.mark.slow(5),
        ),
        pytest.param(
            "blind_full", ["--data.test.protocol=bam", "--data.test.draws=2", "--data.image_size=64"], "any_pixel",
            marks=pytest.mark.slow(5),
        ),
        pytest.param(
            "emat", ["--data.test.way=2", "--data.test.setting=partially_augmented"], "predicted",
            marks=pytest.mark.slow(2),
        ),
    ],
    ids=["at the input's size", "calibrating", "padded, two draws", "two ways"],
)  # fmt: skip
def test_masks_of_a_run_have_its_counts(method, options, presence, small_demo, tmp_path):
    assert check_on_scenes(method, small_demo, tmp_path, *options).run.presence == presence


def check_on_photos(method: str, photos: Path, folder: Path) -> None:
    words = arguments(method, photos, folder / "runs", *OPTIONS.get(method, ()))
    check_scored(Experiment(parse(words)), folder, "imagefolder", root=photos)


def test_ways_of_a_classifier_have_its_counts(photos, tmp_path):
    check_on_photos("nn", photos, tmp_path)


KINDS = ("bam", "diam", "fort_lora", "hdmnet", "persam", "sam3_exemplars", "seggpt", "segic")
"""A method of each other way to answer: with base classes, all ways together, by a class, with numbers of a batch that
have no axis, on SAM, of photos and boxes, in colours, in one stride; the last two resize images by a rule of their own.
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", KINDS)
def test_kinds_of_methods(method, small_demo, photos, tmp_path):
    if method in names_by_task("methods")[0]["classification"]:
        return check_on_photos(method, photos, tmp_path)
    options = [*METHODS.get(method, ()), *OPTIONS.get(method, ())]
    check_on_scenes(method, small_demo, tmp_path, *options, f"--data.test.protocol={protocol_of(method)}")


def kinds_of_protocols() -> list[str]:
    """Return protocols of segmentation of which no two share the form of draw, the view, the counting and the scores.

    Every door sees and counts through these parts alone, so that another protocol with the same parts shows nothing.
    """
    kinds: dict[object, str] = {}
    for name in protocol_names():
        protocol = load_protocol(name)
        if protocol.task == "segmentation":
            scores = tuple(metric.name for metric in protocol.metrics)
            kinds.setdefault((type(protocol.draw), protocol.view, protocol.counting, scores), name)
    return list(kinds.values())


ON_REAL_SAMPLES = {
    **dict.fromkeys(("gfss", "capl"), ("pascal", "diam", [])),
    "bam_gfss": ("pascal", "bam", ["--data.image_size=65"]),
    **dict.fromkeys(("fssdino", "fss_sam3", "incontext"), ("coco", "prototype", [])),
    **dict.fromkeys(("fscs", "hdmnet", "bam", "presence"), ("pascal", "prototype", [])),
}
"""Data set, method and settings of protocols on real samples, whose label maps have void pixels."""
SAMPLES = {"pascal": "voc-mini", "coco": "coco-mini"}


def takes(protocol: str, scenes: Path) -> bool:
    """Return whether the data set has the protocol's test, and a method without any training can answer it."""
    if load_protocol(protocol).draw.asks_base_classes:
        return False
    try:
        load_test("folder", root=scenes, protocol=protocol, episodes=6, drop_small=True)
    except FsbenchError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("protocol", kinds_of_protocols())
def test_kinds_of_protocols_with_two_draws(protocol, small_demo, tmp_path):
    if not takes(protocol, small_demo):
        of_scans = load_protocol(protocol).draw.draws_slices  # whose doors are those of tests/cli/run/test_scans.py
        assert protocol in ON_REAL_SAMPLES or of_scans
        pytest.skip("is for other data sets")
    has_draws = load_protocol(protocol).draw.shares_supports  # and an episode of each, at least
    draws = ["--data.test.episodes=10"] if has_draws else ["--data.test.draws=2"]
    options = ["--data.image_size=64", *DROPPING, *draws]
    check_on_scenes("prototype", small_demo, tmp_path, f"--data.test.protocol={protocol}", *options)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ON_REAL_SAMPLES)
def test_protocols_on_real_samples(protocol, tmp_path, real_data):
    dataset, method, options = ON_REAL_SAMPLES[protocol]
    root = real_data / SAMPLES[dataset]
    small = {"backbone": "demo"} if method == "prototype" else {}
    more = [*DROPPING, *OPTIONS.get(method, ()), *METHODS.get(method, ()), *options]
    built = experiment(
        method, tmp_path, f"--data.test.protocol={protocol}", *more, dataset=dataset, data_root=str(root),
        weights="random:0", **small,
    )  # fmt: skip
    check_scored(built, tmp_path, dataset, root=root)
