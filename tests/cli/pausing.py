"""A callback that stops an evaluation in its middle, so that a test can act there however fast the machine is."""

import multiprocessing
import time

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
