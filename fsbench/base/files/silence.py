"""Libraries that write to the standard error past Python, and what they say there kept from the screen."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_ONE_AT_A_TIME = threading.RLock()  # PIL calls `load` within `load`


@contextmanager
def standard_error_discarded() -> Iterator[None]:
    """Discard what is written to the standard error in the block, also by libraries in other languages.

    What counts of it is raised as well. The whole process is silent meanwhile, so the block should be short.
    """
    with _ONE_AT_A_TIME, ExitStack() as stack:
        before = os.dup(2)
        stack.callback(os.close, before)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        stack.callback(os.dup2, before, 2)
        yield
