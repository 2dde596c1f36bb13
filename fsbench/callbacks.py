"""What happens around the steps of a run: a seed before each of training; results of validation are summed, those of a
test written to the journal."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from fsbench.contracts import Episodes
from fsbench.files import replacing
from fsbench.metrics import EpisodeResult, EpisodicScores
from fsbench.records import Journal, JournalWriter
from fsbench.samplers import Episode

log = logging.getLogger("fsbench")
THREADS = torch.get_num_threads()
"""What this process has before Lightning divides the cores among the ranks of a machine."""


class StepSeed(Callback):
    """Draws dropout from (seed, epoch, step, rank) alone, so that a training that was stopped goes on as if it had not
    been, whatever the loaders drew from the global generator."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        words = [self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]))


class Validation(Callback):
    """Logs val/mIoU, val/FB-IoU and val/accuracy of the validation episodes, exact over all ranks."""

    def __init__(self, data: Episodes):
        self.data = data
        self.scores: EpisodicScores | None = None

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.scores is None:
            class_ids = self.data.validation_manifest.class_ids
            self.scores = EpisodicScores(class_ids, self.data.protocol.void).to(pl_module.device)
        self.scores.reset()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        assert self.scores is not None
        for result in outputs["results"]:
            self.scores.update(result)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self.scores is not None
        for name, value in self.scores.compute().items():  # sums over all ranks first
            pl_module.log(f"val/{name}", value, prog_bar=name == "mIoU", sync_dist=False)


class Recorder(Callback):
    """Writes every result to the journal as it comes, and keeps the label maps that the picture shows."""

    def __init__(self, data: Episodes, journal: Journal, folder: Path, shown: set[int]):
        self.data = data
        self.journal = journal
        self.folder = folder
        self.shown = shown
        self.writer: JournalWriter | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """All ranks share what rank 0 found undone, though an orphan of a killed run may still write to the journal."""
        self.data.done = trainer.strategy.broadcast(self.data.done)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        torch.set_num_threads(THREADS)  # some kernels sum in another order with another number
        self.folder.mkdir(exist_ok=True)
        self.writer = self.journal.open()

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        assert self.writer is not None
        for result in outputs["results"]:
            if result.episode in self.shown:
                self._keep(result)
        self.writer.add(outputs["results"])

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.writer is not None:
            self.writer.close()

    def _keep(self, result: EpisodeResult) -> None:
        with replacing(self.folder / f"{result.episode:06d}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, label_map=result.label_map.numpy(), decided=result.decided.numpy())


def kept_predictions(folder: Path, episodes: Sequence[Episode]) -> dict[int, tuple[np.ndarray, list[bool]]]:
    """Episode -> (label map, decision per way), as `Recorder` kept them. A damaged file counts as absent."""
    found = {}
    for episode in episodes:
        path = folder / f"{episode.index:06d}.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                label_map, decided = stored["label_map"], stored["decided"]
            if (label_map.dtype, label_map.ndim, decided.shape) != (np.uint8, 2, (len(episode.classes),)):
                raise ValueError("arrays of another kind")
        except FileNotFoundError:
            continue
        except Exception as error:  # whatever a damaged file makes zip and numpy say
            log.warning("%s cannot be read (%s); its episode is left out of the picture", path, type(error).__name__)
            continue
        found[episode.index] = (label_map, decided.tolist())
    return found
