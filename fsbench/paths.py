"""Folders of the suite's own files."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
REPOSITORY = _PACKAGE.parent
"""Folder of the packages `fsbench`, `methods` and `datamodules`: of a clone, or where packages are installed."""
IS_CLONE = (REPOSITORY / "configs" / "base.yaml").is_file()
_FILES = REPOSITORY if IS_CLONE else _PACKAGE  # a wheel has them within the package
CONFIGS = _FILES / "configs"
BENCHMARKS = _FILES / "benchmarks"


def cache_folder() -> Path:
    """Return the folder of caches: `$FSBENCH_CACHE`, or `~/.cache/fsbench`."""
    return Path(os.environ.get("FSBENCH_CACHE") or "~/.cache/fsbench").expanduser()


def weights_folder() -> Path:
    """Return the folder of weight files: `$FSBENCH_WEIGHTS`, or `weights` in the clone or, without one, in the working
    folder."""
    given = os.environ.get("FSBENCH_WEIGHTS")
    return Path(given).expanduser() if given else (REPOSITORY if IS_CLONE else Path.cwd()) / "weights"
