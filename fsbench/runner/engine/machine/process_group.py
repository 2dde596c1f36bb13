"""The group of a run's processes, and its end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE")
"""Variables that Lightning sets for the processes of a run."""


@contextmanager
def leaving_process_group() -> Iterator[None]:
    """Leave the group of ranks that the block has joined, if any, at its end, and the environment as it was before.

    A thread of gloo that enters the interpreter while Python takes it apart would abort the process. After a failure
    the group of another backend (NCCL) is not left: that could wait for a collective of ranks that wait for this
    process's end. Lightning sets variables of a launch in the process that launches, too, where the next run would find
    them.
    """
    ended_well, before = False, {name: os.environ.get(name) for name in VARIABLES}
    try:
        yield
        ended_well = True
    finally:
        is_member = distributed.is_available() and distributed.is_initialized()
        if is_member and (ended_well or distributed.get_backend() == "gloo"):
            distributed.destroy_process_group()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
