"""Run a case of `fsbench.regress` with the suite's own runner, look on, and draw what moved."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from fsbench import pictures
from fsbench.annotations import AnnotationIndex
from fsbench.cell import Cell
from fsbench.checkpoints import WRITTEN_BY, describe
from fsbench.composition import parse
from fsbench.contracts import Method
from fsbench.demo.dataset import generate
from fsbench.metrics import EpisodeResult
from fsbench.records import Record
from fsbench.regress import Case, Moved
from fsbench.regress_outcome import COLUMNS, Answer, Outcome, encoded, scored
from fsbench.runner import run
from fsbench.samplers import Episode

TRAIN, VAL = 100, 60
"""Images of the demo's splits."""
NOISE = 0.1
"""Standard deviation; that of most first weights is 0.02 to 0.1."""
COMPARED_OTHERWISE = {"manifest_sha256", "files_sha256"}
"""Keys of an identity: episodes are compared one by one, and another encoder may make JPEGs of another size."""
PACKAGES = ("torch", "timm", "numpy", "pillow", "opencv-python-headless")


def draw_demo(folder: Path) -> Path:
    """The demo's data set with few images."""
    generate(folder, train=TRAIN, val=VAL)
    return folder


@dataclass(frozen=True)
class Observed:
    """What came out, and what it takes to draw it."""

    outcome: Outcome
    index: AnnotationIndex
    episodes: tuple[Episode, ...]

    def draw(self, path: Path, before: Outcome, moved: Sequence[Moved]) -> None:
        """A picture with a row for each episode that moved: then, now, and where the two differ."""
        same = {item.index for item in moved if item.same}
        maps = {answer.index: answer.label_map() for answer in before.answers if answer.index in same}
        chosen = [episode for episode in self.episodes if episode.index in {item.index for item in moved}]
        decided = COLUMNS.index("decided")
        now = {a.index: (a.label_map(), [row[decided] for row in a.slots[1:]]) for a in self.outcome.answers}
        pictures.contact_sheet(path, self.index, now, chosen, maps)


def observe(case: Case, data: Path) -> Observed:
    """Train a few steps where the method learns, test it with disturbed first weights, on the data set in `data`."""
    with _one_thread(), tempfile.TemporaryDirectory() as folder:
        runs, seen = Path(folder), _Observer()
        first: Path | None = None
        training = None
        cell = Cell(parse(case.arguments(data, runs, case.training)))
        if cell.trains:
            first, training = runs / "first.ckpt", cell.identity["training"]
            torch.save({"state_dict": disturbed(cell.method, case.seed), WRITTEN_BY: describe(cell.method)}, first)
            _run(cell, seen)
        cell = Cell(parse(case.arguments(data, runs, case.test, first)))
        record = _run(cell, seen)
        identity = {key: value for key, value in cell.identity.items() if key not in COMPARED_OTHERWISE}
        identity |= {"void": cell.data.protocol.void, "class_ids": record.manifest.class_ids}
        identity |= {"training": training or cell.identity["training"]}
        answers = _answers(record, seen.results)
    scores = scored(identity, answers) | record.run["scores"]
    outcome = Outcome(identity, environment(), seen.losses, scores, answers)
    return Observed(outcome, cell.data.dataset, record.manifest.episodes)


def disturbed(method: Method, seed: int) -> dict[str, Tensor]:
    """First weights and noise: a branch whose first weights are close to zero changes the masks as well."""
    noise = np.random.RandomState(seed)
    learned = {name for name, _ in cast(torch.nn.Module, method).named_parameters()}
    state = dict(method.state_dict())
    for name in sorted(state.keys() & learned):
        state[name] = state[name] + torch.from_numpy(NOISE * noise.standard_normal(state[name].shape)).to(state[name])
    return state


def _answers(record: Record, results: dict[int, EpisodeResult]) -> list[Answer]:
    frames = {index: frame for (index,), frame in record.episodes.group_by("episode")}
    answers = []
    for episode in record.manifest.episodes:
        label_map = results[episode.index].label_map.numpy()
        slots = [list(row) for row in frames[episode.index].sort("slot").select(COLUMNS).rows()]
        plain = json.loads(json.dumps(asdict(episode)))
        answers.append(Answer(plain, slots, list(label_map.shape), encoded(label_map, len(episode.classes))))
    return answers


def environment() -> dict[str, str]:
    """Versions and the processor's instructions, which rounding depends on."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return versions | {"instructions": torch.backends.cpu.get_cpu_capability()}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Their number changes how sums are rounded."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run(cell: Cell, seen: "_Observer") -> Record:
    cell.trainer_arguments["callbacks"] = [seen]
    record = run(cell)
    assert record is not None  # one process
    return record


class _Observer(Callback):
    """Keeps the losses of training steps and the results of the last test."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.results: dict[int, EpisodeResult] = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any) -> None:
        self.losses.append(float(outputs["loss"]))

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.results = {}

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        self.results |= {result.episode: result for result in outputs["results"]}
