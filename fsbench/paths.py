"""Folders of the suite's own files."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGS = REPOSITORY / "configs"


def cache_folder() -> Path:
    """Return the folder of caches: `$FSBENCH_CACHE`, or `~/.cache/fsbench`."""
    return Path(os.environ.get("FSBENCH_CACHE") or "~/.cache/fsbench").expanduser()


def weights_folder() -> Path:
    """Return the folder of weight files: `$FSBENCH_WEIGHTS`, or `weights` in the repository."""
    given = os.environ.get("FSBENCH_WEIGHTS")
    return Path(given).expanduser() if given else REPOSITORY / "weights"
