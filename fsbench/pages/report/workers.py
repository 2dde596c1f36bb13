"""Processes that share the work of a report."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from fsbench.protocols.reading import added_metrics, take_metrics

SERIAL_RUNS = 32
"""Largest number of runs for which other processes take longer to start, two seconds each, than they save: a run takes
some 70 milliseconds."""


class SerialExecutor(Executor):
    """Executor that runs each submitted call immediately, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # raised where the result is asked for
            future.set_exception(error)
        return future


def workers(runs: int) -> Executor:
    """Return an executor for computations on `runs` runs: one process per core, or this process for few runs.

    Processes are spawned, since the threads of polars do not survive a fork.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if runs <= SERIAL_RUNS or cores < 2:
        return SerialExecutor()
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(cores, context, initializer=take_metrics, initargs=(added_metrics(),))
