"""The provenance of a run's record: versions, device, commit, time."""

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import lightning as L
import torch

from fsbench.base.environment import recorded_variables
from fsbench.base.version import __version__
from fsbench.records.machine import commit, processor

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
        **({"variables": variables} if (variables := recorded_variables()) else {}),
    }
