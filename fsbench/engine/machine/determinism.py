"""Collect the kernels of a run that add in no fixed order: repeating it may give other last digits."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_WARNING = re.compile(r"(\S+) does not have a deterministic implementation")


class _KernelCollector(logging.Filter):
    """Collect the names of kernels that torch warns about, and let only the first warning about each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        warning = _WARNING.search(record.getMessage())
        if warning is None:
            return True
        first = warning[1] not in self.kernels
        self.kernels.add(warning[1])
        return first


@contextmanager
def unordered_kernels() -> Iterator[set[str]]:
    """Collect the names of kernels that torch warns about within the block (`trainer.deterministic: warn`).

    Warnings must go to the log (`logging.captureWarnings`).

    Yields:
        A set that grows while the block runs.
    """
    collector, log = _KernelCollector(), logging.getLogger("py.warnings")
    log.addFilter(collector)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", message=_WARNING.pattern)  # else one of training hides one of the test
            yield collector.kernels
    finally:
        log.removeFilter(collector)
