"""Find the publisher's folder in the one that the user gives."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fsbench.data.source import Source


def require_folder(source: Source, root: Path, inner: Sequence[str], parts: Sequence[str], expected: str = "") -> Path:
    """Return the folder of `find_folder`; DataError if there is none, with what was `expected` ("" for the parts)."""
    found = find_folder(root, inner, parts)
    if found is not None:
        return found
    expected = f"expected {expected or ' and '.join(parts)}"
    if not root.is_dir():
        raise source.missing(f"the folder {root} does not exist; {expected}")
    nearest = next((root / folder for folder in inner if (root / folder).is_dir()), root)
    absent = [part for part in parts if not any(nearest.glob(part))]
    raise source.missing(f"{nearest} has no {' and no '.join(absent)}; {expected}")


def find_folder(root: Path, inner: Iterable[str], parts: Iterable[str]) -> Path | None:
    """Return `root`, or the first folder of `inner` below it, that has all `parts` (patterns); None if none has.

    `root` comes last where a part is in a folder of any name, which folders of other data sets have as well.
    """
    needed = tuple(parts)
    below = [root / folder for folder in inner]
    folders = [*below, root] if any(map(is_of_any_folder, needed)) else [root, *below]
    return next((f for f in folders if f.is_dir() and all(any(f.glob(part)) for part in needed)), None)


def is_of_any_folder(part: str) -> bool:
    """Return whether a pattern names no folder that its files are in: `*/images`."""
    return part.startswith("*/")
