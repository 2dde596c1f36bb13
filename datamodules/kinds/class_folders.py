"""Scan folders with a sub-folder of images for each class."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.base.files import fingerprint, read_text
from fsbench.data.disk_cache import load_json, save_json
from fsbench.data.file_digests import file_state
from fsbench.datamodules.lists.image_list import require_present

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
"""Ends of the names of published photos."""


def class_folders(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, tuple[str, ...]]:
    """Return {sub-folder: its files with one of the suffixes}, sorted by name; hidden and other files are left out.

    The result is kept in the disk cache and reused as long as no folder changes.
    """
    folders = sorted((entry for entry in _entries(folder) if entry.is_dir()), key=lambda entry: entry.name)
    state = [str(folder.resolve()), suffixes, [(entry.name, file_state(entry.path)) for entry in folders]]
    key = fingerprint(state)
    cached = load_json("images", key)
    if cached is not None:
        return {name: tuple(files) for name, files in cached.items()}
    listing = {}
    for entry in folders:
        files = (file for file in _entries(Path(entry.path)) if file.name.lower().endswith(suffixes))
        listing[entry.name] = tuple(sorted(file.name for file in files if file.is_file()))
    save_json("images", key, listing)
    return listing


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read ({error.strerror}); make it readable") from error
    for entry in visible:
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"folder {folder} has the name {os.fsencode(entry.name)!r}, which is not UTF-8; expected names that "
                "can be written into a list; rename it"
            ) from None
    return visible


def require_images(
    folders: Mapping[str, Collection[str]], folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> None:
    if not folders:
        raise DataError(f"{folder} has no class folders; expected a folder for each class with its images in it")
    empty = [name for name, files in folders.items() if not files]
    if empty:
        raise DataError(
            f"{len(empty)} of {len(folders)} class folders in {folder} have no images (first: {empty[0]}); expected "
            f"{', '.join(suffixes)} files directly in each; put images there, or remove the folder"
        )


def below_folders(
    folders: Mapping[str, Sequence[str]], spoken_name: Callable[[str], str], most: int | None = None
) -> list[tuple[str, Sequence[str]]]:
    return [(spoken_name(name), [f"{name}/{file}" for file in files[:most]]) for name, files in folders.items()]


def rows(source: Path, columns: int, form: str) -> list[list[str]]:
    """Split every line of a text file into `columns` words, the last one with the rest; skip comments."""
    try:
        lines = [line.split(maxsplit=columns - 1) for line in read_text(source, "list").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source} cannot be read ({error}); expected lines {form}; fetch it again") from error
    lines = [line for line in lines if line and not line[0].startswith("#")]
    if not lines or any(len(line) != columns for line in lines):
        raise DataError(f"{source} has a line of another form; expected {form} in each; fetch it again")
    return lines


def listed_classes(source: Path, form: str, folder: Path, numbered: bool) -> list[tuple[str, Sequence[str]]]:
    """Return (class name, image names) of each class of a text file whose lines are of the form `form`.

    If the classes are `numbered`, they are in the order of their numbers, and named after their first photos.
    """
    lines = rows(source, form.count("<"), form)
    if numbered and not all(line[1].isdigit() for line in lines):
        raise DataError(f"{source} has a class that is no number; expected numbers from 1; fetch it again")
    labels = {f"{line[0]}.jpg": f"{int(line[1]):03d}" if numbered else line[1].strip() for line in lines}
    classes = by_class(labels, folder, source)
    return [(spoken(images[0].rpartition("_")[0] if numbered else label), images) for label, images in classes.items()]


def by_class(labels: Mapping[str, str], folder: Path, source: Path) -> dict[str, list[str]]:
    """Turn {image name: class name} of the file `source` into {class name: its images in `folder`}, both sorted."""
    present = {entry.name for entry in _entries(folder)}
    require_present([name for name in labels if name not in present], len(labels), folder, source)
    classes: dict[str, list[str]] = {}
    for name in sorted(labels):
        classes.setdefault(labels[name], []).append(name)
    return {name: classes[name] for name in sorted(classes)}


def spoken(text: str) -> str:
    """Return a class's name as in a text prompt: `Black_footed_Albatross` -> `black footed albatross`."""
    return text.replace("_", " ").lower()
