"""Processor and GPUs of this machine, as torch sees them."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from fsbench.base.errors import describe
from fsbench.records.machine import processor
from fsbench.runner.here.finding import Finding
from fsbench.runner.here.machine import GIGABYTE


def list_devices() -> Iterator[Finding]:
    """Yield the processor, its memory, and every GPU that torch sees; without one, what torch is built for."""
    memory = _memory()
    words = f"{processor()}, {os.cpu_count()} cores, torch takes {torch.get_num_threads()}"
    yield Finding("devices", "CPU", "ok", words + (f", {memory / GIGABYTE:.0f} GB of memory" if memory else ""))
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        try:
            facts = torch.cuda.get_device_properties(device)
        except (RuntimeError, AssertionError) as error:  # a driver that is too old, a GPU that another job has filled
            advice = "free it, or update the driver; --trainer.accelerator=cpu does without"
            yield Finding("devices", str(device), "failed", describe(error), advice)
            continue
        named = f", driver {driver()}" if driver() else ""
        words = f"{facts.name}, {facts.total_memory / GIGABYTE:.0f} GB, compute capability {facts.major}.{facts.minor}"
        yield Finding("devices", str(device), "ok", f"{words}, CUDA {torch.version.cuda}{named}")
    if not torch.cuda.device_count():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        yield Finding("devices", "GPU", "absent", f"torch sees none ({built})")


def _memory() -> int | None:
    """Return the bytes of this machine's memory where the system tells them."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def driver() -> str:
    """Return the version of NVIDIA's driver; "" where it does not say."""
    with suppress(OSError):
        # "Kernel Module  535.104.05  Sat ...", of late also "Open Kernel Module for x86_64  560.35.05  Release ..."
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", Path("/proc/driver/nvidia/version").read_text())
        return found[1] if found else ""
    return ""
