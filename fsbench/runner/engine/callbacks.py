"""Lightning callbacks of a run alone: keep checkpoints, tell progress."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from fsbench.base.progress import ProgressLines, duration
from fsbench.base.terminal import print_progress
from fsbench.runner.engine.checkpoint import TRAINING
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.origins import training_facts


class PlacelessCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint callback, changed so that its saved state names files without their folder.

    Checkpoints therefore have the same bytes wherever they were made, and a training can resume in a moved folder. On
    resuming, the score of the last kept weights is restored, too, which Lightning's own callback forgets.
    """

    def state_dict(self) -> dict[str, Any]:
        return _with_paths(super().state_dict(), lambda path: Path(path).name) | {"dirpath": ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        folder = Path(str(self.dirpath))
        super().load_state_dict(
            _with_paths(state_dict, lambda path: str(folder / Path(path).name)) | {"dirpath": self.dirpath}
        )
        self.current_score = state_dict["current_score"]


def _with_paths(state: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return the state of a ModelCheckpoint with other paths."""
    paths = {key: change(path) for key, path in state.items() if key.endswith("_path") and path}
    return state | paths | {"best_k_models": {change(path): score for path, score in state["best_k_models"].items()}}


class ReadableCheckpoint(Callback):
    """After a training's second batch, write a checkpoint, read it back and remove it, to find errors early.

    A checkpoint that cannot be read thus ends the training at once instead of after its first epoch. The callback waits
    for an optimiser step, before which the states of optimiser and schedule may be empty, and for one more batch, so
    that other callbacks have seen the first.

    Args:
        path: temporary file for the checkpoint.
    """

    def __init__(self, path: Path):
        self.path = path
        self.batches = 0
        self.is_written = False

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        self.batches += 1
        if self.batches > 1 and trainer.global_step and not self.is_written:
            self.is_written = True
            trainer.save_checkpoint(self.path, weights_only=False)
            trainer.strategy.remove_checkpoint(self.path)


class TrainingFacts(Callback):
    """Callback that writes how the run trains (settings, data) into every checkpoint.

    Args:
        experiment: the run that trains.
    """

    def __init__(self, experiment: Experiment):
        self.experiment = experiment

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[TRAINING] = training_facts(self.experiment)


class TimeEstimate(Callback):
    """Callback that prints, after the second training step, how long the rest of the training will take."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.is_said = False

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if self.began is None:
            self.began = time.perf_counter()  # the first step builds the frozen network
        elif not self.is_said and trainer.is_global_zero:
            self.is_said = True
            seconds = time.perf_counter() - self.began
            epochs = (trainer.max_epochs or 0) - trainer.current_epoch
            steps = epochs * int(trainer.num_training_batches) - trainer.fit_loop.batch_idx - 1
            if steps > 0:
                left = f"{duration(steps * seconds)} for {steps} steps of {seconds:.2f} s"
                print_progress(f"training: about {left}, without the validations")


class ProgressInLines(Callback):
    """Callback that prints progress every ten seconds, and validation scores, where no progress bar is possible."""

    def __init__(self) -> None:
        self.lines = ProgressLines()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        batches = f", batch {trainer.fit_loop.batch_idx + 1} of {trainer.num_training_batches}"
        self._say(trainer, f"training: epoch {trainer.current_epoch + 1} of {trainer.max_epochs}{batches}")

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *more: Any
    ) -> None:
        batches = f"batch {batch_idx + 1} of {sum(trainer.num_val_batches)}"
        self._say(trainer, f"validation of epoch {trainer.current_epoch + 1}: {batches}")

    def _say(self, trainer: L.Trainer, text: str) -> None:
        if trainer.is_global_zero and self.lines.is_due:
            score = trainer.callback_metrics.get("val/mIoU")
            self.lines.say(text if score is None else f"{text}; last validation: mIoU {float(score):.2f}")
