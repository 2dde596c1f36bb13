"""Find the supports in a folder: those of the page of `fsbench demo`, of labelling tools, or photos with masks."""

import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import is_file, is_folder
from fsbench.base.files.archives import open_zip
from fsbench.predict.query_images import SUFFIXES
from fsbench.predict.read_supports import SupportSpec, read_supports
from fsbench.predict.support import Support

MARKS = "supports.json"
"""COCO file of what was marked, in what the page saves."""
PHOTOS, MASKS = "photos", "masks"
FORMS = (
    f"a folder or ZIP file that the page of fsbench demo saved, one with JSON files of LabelMe or COCO, or one with "
    f"{PHOTOS}/ and {MASKS}/, where a photo and its mask have one name"
)


def read_support_folder(path: Path, classes: str = "") -> tuple[list[Support], list[str]]:
    """Read all supports of a folder, or of a ZIP file of the page.

    Args:
        path: one of `FORMS`.
        classes: as of `read_supports`.

    Returns:
        The supports, and notes for the user.

    Raises:
        SettingsError: there is no such folder, or no support in it.
        DataError: a file is unusable.
    """
    if is_folder(path):
        return read_supports(_specs(path), classes, path / PHOTOS if is_folder(path / PHOTOS) else None)
    if not is_file(path):
        raise SettingsError(f"--supports {path} does not exist; expected {FORMS}")
    with tempfile.TemporaryDirectory(prefix="fsbench-supports-") as folder:
        _unpack(path, Path(folder))
        return read_support_folder(Path(folder), classes)


def _specs(folder: Path) -> list[SupportSpec]:
    """Return the supports of a folder in the parsed form of `read_supports`."""
    marked = folder / MARKS
    files = [marked] if is_file(marked) else sorted(file for file in folder.glob("*.json") if is_file(file))
    if files:
        return [("", None, file) for file in files]
    found: list[SupportSpec] = []
    for mask in sorted((folder / MASKS).glob("*.png")):
        near = (folder / PHOTOS).glob("*")
        photos = [photo for photo in near if mask.stem in (photo.stem, photo.name) and photo.suffix.lower() in SUFFIXES]
        if len(photos) != 1:
            number = "no photo" if not photos else f"{len(photos)} photos"
            raise DataError(f"the mask {mask} has {number} of its name in {folder / PHOTOS}; expected one")
        found.append(("", photos[0], mask))
    if not found:
        raise SettingsError(f"--supports {folder} has no support; expected {FORMS}")
    return found


def _unpack(archive: Path, folder: Path) -> None:
    """Write the marks and photos of what the page saved to `folder`. Raises DataError for any other file."""
    (folder / PHOTOS).mkdir()
    try:
        with open_zip(archive) as opened:
            for info in opened.infolist():
                parts = PurePosixPath(info.filename).parts
                if parts == (MARKS,) or (len(parts) == 2 and parts[0] == PHOTOS and parts[1] not in ("..", ".")):
                    (folder / Path(*parts)).write_bytes(opened.read(info))
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"--supports {archive} cannot be read ({error}); expected {FORMS}") from error
    if not is_file(folder / MARKS):
        raise DataError(f"--supports {archive} has no {MARKS}; expected {FORMS}")
