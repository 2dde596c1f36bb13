"""Arrays that take long to make, kept as files in the user's cache folder.

A file is a convenience: an unreadable one counts as absent, and a folder that cannot be written to costs only time.
"""

import warnings
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from fsbench.files import replacing
from fsbench.paths import cache_folder


def load_arrays(kind: str, key: str) -> dict[str, np.ndarray] | None:
    """The arrays saved under `kind` and `key`; None where there are none or the file is damaged."""
    try:
        with np.load(_file(kind, key), allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error):
        return None


def save_arrays(kind: str, key: str, arrays: dict[str, np.ndarray]) -> None:
    """Keep `arrays` under `kind` and `key`, a hash of what they were made from. Warns once where that is impossible."""
    path = _file(kind, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        _warn(path.parent, error.strerror or str(error))


def _file(kind: str, key: str) -> Path:
    return cache_folder() / f"{kind}-{key[:32]}.npz"


@cache
def _warn(folder: Path, reason: str) -> None:
    warnings.warn(
        f"cannot keep counts and annotations in {folder} ({reason}); they are made again in every run; set "
        "FSBENCH_CACHE to a folder that can be written to",
        stacklevel=2,
    )
