"""The machine and the code of an evaluation, as a record has them; no torch is needed."""

import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fsbench.base.environment import recorded_variables
from fsbench.base.paths import IS_CLONE, REPOSITORY
from fsbench.base.plugins import checkout_commit
from fsbench.base.version import __version__

COUNTING = ("numpy", "pillow")
"""Packages that decide how answers are counted."""
PACKAGES = ("torch", "lightning", "timm", "opencv-python-headless", *COUNTING)
"""Packages that decide what a method answers, and how that is counted."""


def provenance(packages: Iterable[str] = COUNTING, device: str | None = None) -> dict[str, Any]:
    """Return time, commit, package versions and device (the CPU unless given) of an evaluation that ends now."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {**{name: metadata.version(name) for name in packages}, "fsbench": __version__},
        "python": platform.python_version(),
        "device": device or processor(),
        "processes": 1,
        **({"variables": variables} if (variables := recorded_variables()) else {}),
    }


def processor() -> str:
    """Return the model of this machine's CPU, or its architecture if unknown."""
    with suppress(OSError):
        if model := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return model[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """Return the git commit of fsbench's code; None if fsbench is not run from a git checkout, or without git."""
    return checkout_commit(REPOSITORY) if IS_CLONE else None  # else it may stand in a clone of something else
