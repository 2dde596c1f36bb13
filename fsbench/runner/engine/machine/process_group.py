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
    """Call `work` in every process of a trainer; start the processes that do not run yet.

    Returns:
        The return value of `work` in this process.
    """

    def connected() -> Outcome:
        trainer.strategy.setup_environment()
        return work()

    launcher = trainer.strategy.launcher
    return connected() if launcher is None else launcher.launch(connected, trainer=trainer)


@contextmanager
def leaving_process_group() -> Iterator[None]:
    """After the block, leave the torch.distributed process group joined in it, and restore environment variables.

    A thread of the gloo backend that runs while Python shuts down would abort the process. After a failure, a group of
    another backend (NCCL) is not left, since that could wait forever for the other ranks. Lightning also sets launch
    variables in the launching process, where the next run would find them.
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
