"""Find the publisher's folder in the one that the user gives."""

from collections.abc import Iterable
from pathlib import Path


def find_folder(root: Path, inner: Iterable[str], parts: Iterable[str]) -> Path | None:
    """Return `root`, or the first folder of `inner` below it, that has all `parts` (patterns); None if none has."""
    needed = tuple(parts)
    folders = (root, *(root / folder for folder in inner))
    return next((f for f in folders if f.is_dir() and all(any(f.glob(part)) for part in needed)), None)
