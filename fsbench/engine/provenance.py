"""The provenance of a record: versions, device, commit, time."""

import platform
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning as L
import torch

from fsbench import __version__
from fsbench.paths import IS_CLONE, REPOSITORY

PACKAGES = ("torch", "lightning", "timm", "numpy", "pillow")


def provenance(trainer: L.Trainer) -> dict[str, Any]:
    """Return the time, the commit, the versions, the device and the processes of a run that ends now."""
    device = trainer.strategy.root_device
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {name: metadata.version(name) for name in PACKAGES} | {"fsbench": __version__},
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """Return the model of this machine's CPU, or its architecture where the model is not known."""
    with suppress(OSError):
        if model := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return model[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """Return the commit of the suite's code; None where it is no checkout or git is not installed."""
    if not IS_CLONE:  # installed packages may stand in a clone of something else
        return None
    describe = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:
        return None
