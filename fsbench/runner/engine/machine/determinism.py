"""Names of kernels that add in no fixed order: repeated, a run may have other last digits."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_WARNING = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def unordered_kernels() -> Iterator[set[str]]:
    """Collect the names of non-deterministic kernels that torch warns about within the block.

    It needs `trainer.deterministic: warn`, and warnings that go to the log (`logging.captureWarnings`).

    Yields:
        A set of kernel names that grows while the block runs.
    """
    kernels: set[str] = set()

    def collect(record: logging.LogRecord) -> bool:
        warning = _WARNING.search(record.getMessage())
        if warning is None:
            return True
        is_first = warning[1] not in kernels
        kernels.add(warning[1])
        return is_first

    log = logging.getLogger("py.warnings")
    log.addFilter(collect)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", message=_WARNING.pattern)  # else one of training hides one of the test
            yield kernels
    finally:
        log.removeFilter(collect)
