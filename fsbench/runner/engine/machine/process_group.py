"""The processes of a run: work in each of them, and the end of their group."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import lightning as L
from torch import distributed

from fsbench.runner.engine.machine.watchdog import kept_environment

Outcome = TypeVar("Outcome")

VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE")
"""Variables that Lightning sets for the processes of a run."""


def in_each_process(trainer: L.Trainer, work: Callable[[], Outcome]) -> Outcome:
    """Call `work` in every process of a trainer, starting them if needed.

    Returns:
        What it returns in this process.
    """

    def connected() -> Outcome:
        trainer.strategy.setup_environment()
        return work()

    launcher = trainer.strategy.launcher
    return connected() if launcher is None else launcher.launch(connected, trainer=trainer)


@contextmanager
def leaving_process_group() -> Iterator[None]:
    """Leave a process group joined in the block, and restore the environment.

    A thread of gloo that enters the interpreter while Python takes it apart would abort the process. After a failure
    the group of another backend (NCCL) is not left: that could wait for a collective of ranks that wait for this
    process's end. Lightning sets variables of a launch in the process that launches, too, where the next run would find
    them.
    """
    has_ended_well = False
    try:
        with kept_environment(VARIABLES):
            yield
        has_ended_well = True
    finally:
        is_member = distributed.is_available() and distributed.is_initialized()
        if is_member and (has_ended_well or distributed.get_backend() == "gloo"):
            distributed.destroy_process_group()
