"""Anybody's photos: found in folders, decoded upright."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datamodules.label_maps import read_pixels
from fsbench.errors import DataError, SettingsError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MAX_PIXELS = 178_956_970
"""PIL's own limit, at which a small file that unfolds into a huge picture is refused: 512 MiB of RGB."""
_ORIENTATION = 0x0112


class Photo(NamedTuple):
    """A photo by its name: its path below the folder that was asked for, with slashes."""

    name: str
    path: Path


def find_photos(
    queries: Sequence[Path], leave_out: Path | None = None, refused: list[str] | None = None
) -> tuple[list[Photo], list[str]]:
    """The photos of folders, with all their sub-folders, and single ones, by name; and names of other files there.

    Hidden files are passed over, and so is the folder `leave_out`, of the results. Raises SettingsError where that is a
    photo's own folder or holds it, there is no such path, or two photos would have the same name, DataError where there
    is no photo at all. A folder that cannot be read raises DataError, or its message goes to `refused`.
    """
    found: dict[str, Path] = {}
    others: list[str] = []
    for query in queries:
        if not query.exists():
            raise SettingsError(f"--query {query} does not exist; expected a folder of photos, or a photo")
        folder = query.parent if query.is_file() else query
        if leave_out is not None and folder.resolve().is_relative_to(leave_out.resolve()):
            raise SettingsError(
                f"--out {leave_out} is or holds the folder {folder} of --query, where results would become photos; "
                "choose another folder for them, e.g. a new one below it"
            )
        for name, path in [(query.name, query)] if query.is_file() else _below(query, leave_out, refused):
            if query.is_dir() and not name.lower().endswith(SUFFIXES):
                others.append(name)
            elif name in found:
                raise SettingsError(f"{found[name]} and {path} would have the same name; give the folder above both")
            else:
                found[name] = path
    if not found:
        raise DataError(
            f"there is no photo in {', '.join(map(str, queries))}; expected files that end with {', '.join(SUFFIXES)}"
        )
    return [Photo(name, found[name]) for name in sorted(found)], sorted(others)


def _below(folder: Path, leave_out: Path | None, refused: list[str] | None) -> list[tuple[str, Path]]:
    own = None if leave_out is None else leave_out.resolve()
    found = []

    def unread(error: OSError) -> None:
        broken = DataError(f"folder {error.filename} cannot be read ({error.strerror}); check its permissions")
        if refused is None:
            raise broken from error
        refused.append(str(broken))

    for parent, folders, files in os.walk(folder, onerror=unread):
        folders[:] = [f for f in folders if not f.startswith(".") and (own is None or Path(parent, f).resolve() != own)]
        found += [Path(parent, file) for file in files if not file.startswith(".")]
    return [(path.relative_to(folder).as_posix(), path) for path in found]


def photo_size(path: Path) -> tuple[int, int, int]:
    """Height and width as stored and the EXIF orientation, from the start of the file alone.

    Raises DataError for what is no image, and for pictures of more than `MAX_PIXELS`.
    """
    too_large = f"photo {path} has more than {MAX_PIXELS:,} pixels; make it smaller"
    try:
        with Image.open(path) as image:
            width, height, orientation = *image.size, _orientation(image)
    except FileNotFoundError:
        raise DataError(f"photo {path} does not exist; correct the path") from None
    except Image.DecompressionBombError:
        raise DataError(too_large) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"photo {path} cannot be read ({error}); expected a complete JPEG, PNG or TIFF file") from error
    if width * height > MAX_PIXELS:  # PIL's limit may have been lifted
        raise DataError(too_large)
    return height, width, orientation


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # PIL raises many kinds; a damaged entry is no reason to refuse the photo
        return 1


def read_photo(path: Path) -> tuple[np.ndarray, int]:
    """Pixels (H, W, 3) uint8 as a viewer shows them, and the EXIF orientation that was applied.

    Raises DataError naming the file where it cannot be decoded.
    """
    orientation = photo_size(path)[2]
    return turned(read_pixels(path), orientation), orientation


def turned(stored: np.ndarray, orientation: int) -> np.ndarray:
    """A picture (H, W, …) as it is stored -> as its EXIF orientation (1 to 8) says that it is to be seen."""
    if orientation not in range(2, 9):
        return stored
    if orientation >= 5:
        stored = np.swapaxes(stored, 0, 1)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}
    return np.ascontiguousarray(np.flip(stored, flips[orientation]))
