"""Callbacks that stop a training or an evaluation in its middle, or lose its workers.

An evaluation is no loop of Lightning's, so those for it watch the method: before each of its predictions.
"""

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from fsbench.core.segmenter import Segmenter

PATIENCE = 300
"""Seconds until a pause that nobody ends is an error."""


class BeforePredictions(Callback):
    """Does something before each prediction of a test."""

    def __init__(self) -> None:
        register_module_forward_pre_hook(self._watch)

    def _watch(self, module: nn.Module, inputs: Any) -> None:
        if isinstance(module, Segmenter) and not self._is_validating(module):
            self.before_prediction()

    def _is_validating(self, method: Segmenter) -> bool:
        try:
            return method.trainer.validating
        except RuntimeError:  # it has no trainer
            return False

    def before_prediction(self) -> None:
        raise NotImplementedError


class PauseAfter(BeforePredictions):
    """Wait in the evaluation once `episodes` episodes are in the journal, until a signal comes."""

    def __init__(self, episodes: int):
        super().__init__()
        self.episodes = episodes

    def before_prediction(self) -> None:
        self.episodes -= 1
        if self.episodes < 0:
            time.sleep(PATIENCE)
            raise TimeoutError(f"paused for {PATIENCE} seconds, and nobody came")


class PauseTraining(Callback):
    """Wait in the second epoch of a training until the file `goes_on` is there, or a signal comes."""

    def __init__(self, goes_on: str):
        self.goes_on = Path(goes_on)

    def on_train_batch_start(self, trainer: L.Trainer, *args: object, **kwargs: object) -> None:
        end = time.monotonic() + PATIENCE
        while trainer.current_epoch == 1 and not self.goes_on.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"paused for {PATIENCE} seconds, and {self.goes_on} is not there")
            time.sleep(0.01)


class LoseWorkers(BeforePredictions):
    """Kill the loader's processes of one rank when the evaluation has begun."""

    def __init__(self, rank: int):
        super().__init__()
        self.rank = rank

    def before_prediction(self) -> None:
        if int(os.environ.get("LOCAL_RANK", "0")) == self.rank:
            for worker in multiprocessing.active_children():
                worker.kill()


def pause_after(episodes: int) -> list[str]:
    """Return the options of `fsbench bench --config` that pause an evaluation with batches of one episode."""
    return ["--trainer.callbacks+=tests.cli.pausing.PauseAfter", f"--trainer.callbacks.episodes={episodes}"]


def pause_training(goes_on: Path) -> list[str]:
    """Return the options of `fsbench bench --config` that pause a training until a file is there."""
    return ["--trainer.callbacks+=tests.cli.pausing.PauseTraining", f"--trainer.callbacks.goes_on={goes_on}"]
