"""The group of a run's processes, and its end."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed


@contextmanager
def leaving_process_group() -> Iterator[None]:
    """Leave the group of ranks that the block has joined, if any, at its end.

    A thread of gloo that enters the interpreter while Python takes it apart would abort the process. After a failure
    the group of another backend (NCCL) is not left: that could wait for a collective of ranks that wait for this
    process's end.
    """
    ended_well = False
    try:
        yield
        ended_well = True
    finally:
        is_member = distributed.is_available() and distributed.is_initialized()
        if is_member and (ended_well or distributed.get_backend() == "gloo"):
            distributed.destroy_process_group()
