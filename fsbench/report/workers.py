"""Processes that share the work of a report; none where there is little to do."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

FEW = 8
"""Runs up to which a second process takes longer to start than it saves."""


class Here(Executor):
    """Does everything at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # belongs to who asks for the result
            future.set_exception(error)
        return future


def workers(runs: int) -> Executor:
    """As many processes as there are cores; spawned, since threads of polars do not survive a fork."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if runs <= FEW or cores < 2:
        return Here()
    return ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"))
