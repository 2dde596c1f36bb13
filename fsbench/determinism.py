"""Which kernels of a run add in no fixed order, so that repeating it may give other last digits."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

ALLOWED = 1e-3
"""Of an episode's pixels: how many may be counted otherwise when an evaluation with such kernels is repeated."""

_NAME = re.compile(r"(\S+) does not have a deterministic implementation")


class _Collector(logging.Filter):
    """Passes the first warning about each kernel on."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        found = _NAME.search(record.getMessage())
        if found is None:
            return True
        first = found[1] not in self.kernels
        self.kernels.add(found[1])
        return first


@contextmanager
def unordered_kernels() -> Iterator[set[str]]:
    """The names of kernels that torch warns about within the block (`trainer.deterministic: warn`), in a set that
    grows. Warnings must go to the log (`logging.captureWarnings`)."""
    collector, log = _Collector(), logging.getLogger("py.warnings")
    log.addFilter(collector)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", message=_NAME.pattern)  # else one of training hides one of the test
            yield collector.kernels
    finally:
        log.removeFilter(collector)
