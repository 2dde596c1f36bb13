"""Folders of the suite's own files."""

import os
import re
from pathlib import Path

from fsbench.base.errors import SettingsError

_PACKAGE = Path(__file__).resolve().parents[1]
REPOSITORY = _PACKAGE.parent
"""Folder of the package `fsbench`: of a clone, or where packages are installed."""
IS_CLONE = (REPOSITORY / "configs" / "base.yaml").is_file()
_FILES = REPOSITORY if IS_CLONE else _PACKAGE  # a wheel has them within the package
CONFIGS = _FILES / "configs"
BENCHMARKS = _FILES / "benchmarks"


def cache_folder() -> Path:
    """Return the folder of the disk cache: `$FSBENCH_CACHE`, or `~/.cache/fsbench`.

    It need not be writable: in containers the home folder is often `/`.
    """
    try:
        return Path(os.environ.get("FSBENCH_CACHE") or "~/.cache/fsbench").expanduser()
    except RuntimeError:
        return Path("/.cache/fsbench")


def cache_size() -> int:
    """Return how many bytes the disk cache may take: `$FSBENCH_CACHE_SIZE`, or 20 GB.

    Raises:
        SettingsError: the variable is not a size.
    """
    given = os.environ.get("FSBENCH_CACHE_SIZE") or "20GB"
    size = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([kMGT])(i?)B?", given.strip(), re.IGNORECASE | re.ASCII)
    if given.strip() == "0":
        return 0
    if size is None:
        raise SettingsError(
            f"FSBENCH_CACHE_SIZE is '{given}', expected a size with its unit such as 20GB, 500MB or 1.5TiB, or 0 to "
            "keep nothing"
        )
    return int(float(size[1]) * (1024 if size[3] else 1000) ** (1 + "KMGT".index(size[2].upper())))


def weights_folder() -> Path:
    """Return the folder of weight files: `$FSBENCH_WEIGHTS`, or `weights` in the clone or, without one, in the working
    folder."""
    given = os.environ.get("FSBENCH_WEIGHTS")
    return Path(given).expanduser() if given else (REPOSITORY if IS_CLONE else Path.cwd()) / "weights"
