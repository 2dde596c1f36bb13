"""Callbacks that stop a training or an evaluation in its middle, or lose its workers."""

import multiprocessing
import time
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback

PATIENCE = 300
"""Seconds until a pause that nobody ends is an error."""


class PauseAfter(Callback):
    """Wait in the evaluation once `episodes` episodes are in the journal, until a signal comes."""

    def __init__(self, episodes: int):
        self.episodes = episodes

    def on_test_batch_start(self, trainer: L.Trainer, *args: object, **kwargs: object) -> None:
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


class LoseWorkers(Callback):
    """Kill the loader's processes of one rank when the evaluation has begun."""

    def __init__(self, rank: int):
        self.rank = rank

    def on_test_batch_start(self, trainer: L.Trainer, *args: object, **kwargs: object) -> None:
        if trainer.global_rank == self.rank:
            for worker in multiprocessing.active_children():
                worker.kill()


def pause_after(episodes: int) -> list[str]:
    """Return the options of `fsbench run` that pause an evaluation with batches of one episode."""
    return ["--trainer.callbacks+=tests.cli.pausing.PauseAfter", f"--trainer.callbacks.episodes={episodes}"]


def pause_training(goes_on: Path) -> list[str]:
    """Return the options of `fsbench run` that pause a training until a file is there."""
    return ["--trainer.callbacks+=tests.cli.pausing.PauseTraining", f"--trainer.callbacks.goes_on={goes_on}"]
