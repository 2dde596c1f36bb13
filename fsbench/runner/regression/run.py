"""Run a regression case with the suite's own runner, collect its predictions, and draw the episodes that moved."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from fsbench.core.global_state import kept_global_state
from fsbench.core.method import Method
from fsbench.core.released_format import WRITTEN_BY
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import episode_entries
from fsbench.data.rle import encode_ways
from fsbench.records.predictions import read_predictions
from fsbench.records.record import Record
from fsbench.results.pictures import contact_sheet as pictures
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run_experiment
from fsbench.runner.regression import cases
from fsbench.runner.regression.cases import Case, EpisodeDiff
from fsbench.runner.regression.outcome import CaseEpisode, Outcome, Row, score_answers

NOISE = 0.1
"""Standard deviation of the noise on first weights; their own is mostly 0.02 to 0.1."""
COMPARED_OTHERWISE = {"manifest_sha256", "files_sha256", "all_files_sha256"}
OF_FILES = {"base_files_sha256", "validation_files_sha256"}
"""Keys of an identity and of its training: episodes are compared one by one, and another encoder makes other JPEGs."""
PACKAGES = ("torch", "timm", "numpy", "pillow", "opencv-python-headless")


def draw_dataset(folder: Path) -> Path:
    """Generate the synthetic data set that `cases.yaml` describes in `folder`, and return the folder."""
    dataset = yaml.safe_load((cases.FOLDER / "cases.yaml").read_text())["dataset"]
    resolve_name(dataset["class_path"])(root=str(folder), **dataset["init_args"])
    return folder


@dataclass(frozen=True)
class CaseRun:
    """Outcome of a regression case that was run, with the data set and episodes needed to draw its predictions."""

    outcome: Outcome
    data: SegmentationData
    episodes: tuple[Episode, ...]

    def draw(self, path: Path, before: Outcome, moved: Sequence[EpisodeDiff]) -> None:
        """Draw a picture with a row for each changed episode: accepted mask, present mask, and difference.

        Args:
            path: image file to write.
            before: the accepted outcome.
            moved: the episodes to draw.
        """
        same = {item.number for item in moved if item.same}
        maps = {answer.number: answer.label_map() for answer in before.answers if answer.number in same}
        chosen = [episode for episode in self.episodes if episode.number in {item.number for item in moved}]
        now = {
            answer.number: pictures.DrawnPrediction(answer.label_map(), [row.decided for row in answer.slots[1:]])
            for answer in self.outcome.answers
        }
        pictures.contact_sheet(path, self.data, now, chosen, maps)


def observe(case: Case, data: Path) -> CaseRun:
    """Run a regression case: train a few steps if the method learns, then test it on a few episodes.

    Noise is added to the initial weights, so that branches that start at zero also change predictions.

    Args:
        case: the method with its settings.
        data: folder of the data set.

    Returns:
        The outcome (losses, scores, predictions), with the data needed to draw it.
    """
    with kept_global_state(), tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(1)  # their number changes how sums are rounded
        runs, observer = Path(folder), _Observer()
        first: Path | None = None
        training = None

        def build(part: Literal["test", "training"]) -> Experiment:
            return Experiment(case.configuration(data, runs, part, first).parse())

        experiment = build("training")
        if experiment.trains:
            first, training = runs / "first.ckpt", experiment.identity.training
            torch.save(
                {"state_dict": disturb_weights(experiment.method, case.seed), WRITTEN_BY: experiment.method.describe()},
                first,
            )
            _run(experiment, observer)
        experiment = build("test")
        record = _run(experiment, observer)
        identity = {k: v for k, v in experiment.identity.as_json().items() if k not in COMPARED_OTHERWISE}
        identity |= {"void": experiment.data.protocol.counting.void, "class_ids": record.manifest.class_ids}
        training = training or experiment.identity.training
        identity |= {"training": training and {k: v for k, v in training.items() if k not in OF_FILES}}
        answers = _answers(record)
    scores = score_answers(identity, answers) | record.scores
    outcome = Outcome(identity, environment(), observer.losses, scores, answers)
    return CaseRun(outcome, experiment.data.dataset, record.manifest.episodes)


def disturb_weights(method: Method, seed: int) -> dict[str, Tensor]:
    """Return a method's initial weights with noise added, so that branches that start near zero also matter."""
    noise = np.random.RandomState(seed)
    learned = {name for name, _ in method.named_parameters()}
    state = dict(method.state_dict())
    for name in sorted(state.keys() & learned):
        state[name] = state[name] + torch.from_numpy(NOISE * noise.standard_normal(state[name].shape)).to(state[name])
    return state


def _answers(record: Record) -> list[CaseEpisode]:
    predictions = read_predictions(record)
    assert predictions is not None  # masks are kept unless a run asks for none
    frames = {number: frame for (number,), frame in record.episodes.group_by("episode")}
    answers = []
    for episode in record.manifest.episodes:
        label_map = predictions.label_map(episode.number)
        slots = [Row(*row) for row in frames[episode.number].sort("slot").select(Row._fields).rows()]
        plain = json.loads(json.dumps(episode_entries(episode)))
        answers.append(CaseEpisode(plain, slots, list(label_map.shape), encode_ways(label_map, len(episode.classes))))
    return answers


def environment() -> dict[str, str]:
    """Return package versions and the processor's instruction set, on which rounding depends."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return versions | {"instructions": torch.backends.cpu.get_cpu_capability()}


def _run(experiment: Experiment, observer: "_Observer") -> Record:
    experiment.trainer_arguments["callbacks"] = [observer]
    record = run_experiment(experiment)
    assert record is not None  # one process
    return record


class _Observer(Callback):
    """Keep the losses of training steps."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any) -> None:
        self.losses.append(float(outputs["loss"]))
