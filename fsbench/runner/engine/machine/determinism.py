"""Deterministic kernels, and names of those that add in no fixed order: repeated, a run may have other last digits."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

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


def set_determinism(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Make torch as deterministic as arguments of the Trainer ask for, as the Trainer would, but in less time.

    The Trainer calls `torch.use_deterministic_algorithms`, which imports torch's compiler to set an option of it. As
    long as the compiler is not imported, that option's environment variable does the same.

    Args:
        arguments: of Lightning's Trainer, with `deterministic` and `benchmark`.

    Returns:
        The arguments, without `deterministic` where it is seen to.
    """
    mode = arguments["deterministic"]
    if mode is None or arguments["benchmark"] or "torch._inductor.config" in sys.modules:
        return dict(arguments)
    torch.set_deterministic_debug_mode({False: "default", True: "error", "warn": "warn"}[mode])
    os.environ["TORCHINDUCTOR_DETERMINISTIC"] = str(int(bool(mode)))
    if mode:
        torch.backends.cudnn.benchmark = False
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS adds in one order with it
    return {**arguments, "deterministic": None}


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
