"""Find images in folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import is_file, is_folder

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".heif")


class QueryImage(NamedTuple):
    """An image to segment. `name` is its path below the searched folder, with forward slashes."""

    name: str
    path: Path


def find_images(
    queries: Sequence[Path], out: Path | None = None, refused: list[str] | None = None, option: str = "--query"
) -> tuple[list[QueryImage], list[str]]:
    """Find the images in folders (searched recursively) and among single files.

    Hidden files and folders are skipped.

    Args:
        queries: Folders, or image files.
        out: The results' folder, which is skipped.
        refused: Collects messages about folders that cannot be read; without it they raise DataError.
        option: The option that gave `queries`, for messages.

    Returns:
        The images sorted by name, and the names of other files in the folders.

    Raises:
        SettingsError: a path does not exist, `out` contains a query's folder, or two images have the same name.
        DataError: there is no image, or a folder cannot be read.
    """
    paths: dict[str, Path] = {}
    others: list[str] = []
    for query in queries:
        _check_query(query, out, option)
        for name, path in [(query.name, query)] if is_file(query) else _files_below(query, out, refused):
            if is_folder(query) and not name.lower().endswith(SUFFIXES):
                others.append(name)
            elif name in paths:
                raise SettingsError(f"{paths[name]} and {path} would have the same name; give the folder above both")
            else:
                paths[name] = path
    if not paths:
        raise DataError(
            f"there is no photo in {', '.join(map(str, queries))}; expected files that end with {', '.join(SUFFIXES)}"
        )
    return [QueryImage(name, paths[name]) for name in sorted(paths)], sorted(others)


def _check_query(query: Path, out: Path | None, option: str) -> None:
    if not (is_file(query) or is_folder(query)):
        raise SettingsError(f"{option} {query} does not exist; expected a folder of photos, or a photo")
    folder = query.parent if is_file(query) else query
    if out is not None and folder.resolve().is_relative_to(out.resolve()):
        raise SettingsError(
            f"--out {out} is or holds the folder {folder} of {option}, where results would become photos; "
            "choose another folder for them, e.g. a new one below it"
        )


def _files_below(folder: Path, skip: Path | None, refused: list[str] | None) -> Iterator[tuple[str, Path]]:
    """Yield (name relative to `folder`, path) of every visible file outside `skip`."""

    def on_error(error: OSError) -> None:
        unreadable = DataError(f"folder {error.filename} cannot be read ({error.strerror}); check its permissions")
        if refused is None:
            raise unreadable from error
        refused.append(str(unreadable))

    skipped = None if skip is None else skip.resolve()
    for parent, folders, files in os.walk(folder, onerror=on_error):
        visible = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in visible if skipped is None or Path(parent, name).resolve() != skipped]
        for file in files:
            if not file.startswith("."):
                path = Path(parent, file)
                yield path.relative_to(folder).as_posix(), path
