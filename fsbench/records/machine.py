"""The machine and the code that count: what a record says of them without torch."""

import platform
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fsbench.base.environment import recorded_variables
from fsbench.base.paths import IS_CLONE, REPOSITORY
from fsbench.base.version import __version__

COUNTING = ("numpy", "pillow")
"""Packages that decide how answers are counted."""


def counted_on() -> dict[str, Any]:
    """Return the time, the commit, the versions and the processor of a counting that ends now."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {**{name: metadata.version(name) for name in COUNTING}, "fsbench": __version__},
        "python": platform.python_version(),
        "device": processor(),
        "processes": 1,
        **({"variables": variables} if (variables := recorded_variables()) else {}),
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
