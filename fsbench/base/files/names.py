"""Names of files and classes as people write them: accents in two forms of Unicode, upper and lower case."""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from fsbench.base.files.opening import is_file, is_folder


def composed(name: str) -> str:
    """Return a name in Unicode's composed form, in which letters and accents are one character.

    macOS, and ZIP files made there, write accents as separate characters; both forms look the same.

    >>> composed("e\\u0301") == "\\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)


def two_alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two names that differ only by Unicode form, case or spaces.

    >>> two_alike(["cat", "dog", "Cat "])
    ('cat', 'Cat ')
    """
    first: dict[str, str] = {}
    for name in names:
        plain = " ".join(composed(name).casefold().split())
        if plain in first:
            return first[plain], name
        first[plain] = name
    return None


def existing_form(path: Path) -> Path | None:
    """Return the path of an existing file or folder, also if its accents have another Unicode form."""
    if is_file(path) or is_folder(path):
        return path
    parent = None if str(path).isascii() or path.parent == path else existing_form(path.parent)
    same = [name for name in _entries(parent) if composed(name) == composed(path.name)] if parent else []
    return parent / same[0] if parent and len(same) == 1 else None


def other_case(path: Path, suffixes: Sequence[str] = ()) -> str:
    """Return a remark that a file whose name differs only in case exists in place of a missing one; "" if none does.

    Args:
        path: the missing file.
        suffixes: endings that the existing file's name may have; () for the ending of `path`.
    """
    wanted = {composed(path.stem + suffix).casefold() for suffix in suffixes or (path.suffix,)}
    there = next((name for name in sorted(_entries(path.parent)) if composed(name).casefold() in wanted), None)
    return f" (there is {there}: upper and lower case are told apart)" if there else ""


def _entries(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (OSError, ValueError):
        return []
