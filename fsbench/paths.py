"""Where the suite's own files are."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGS = REPOSITORY / "configs"


def cache_folder() -> Path:
    """Where what takes long to make is kept: `$FSBENCH_CACHE`, or `~/.cache/fsbench`."""
    return Path(os.environ.get("FSBENCH_CACHE") or "~/.cache/fsbench").expanduser()
