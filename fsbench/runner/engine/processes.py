"""Work in each process of a Trainer, without one of the Trainer's own loops."""

from collections.abc import Callable
from typing import TypeVar

import lightning as L

Outcome = TypeVar("Outcome")


def in_each_process(trainer: L.Trainer, work: Callable[[], Outcome]) -> Outcome:
    """Call `work` in every process of a trainer, which are started and connected unless they are already.

    Returns:
        What it returns in this process.
    """

    def connected() -> Outcome:
        trainer.strategy.setup_environment()
        return work()

    launcher = trainer.strategy.launcher
    return connected() if launcher is None else launcher.launch(connected, trainer=trainer)
