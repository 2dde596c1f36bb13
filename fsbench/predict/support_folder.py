"""Find the supports in a folder: those of labelling tools, or photos with masks."""

from pathlib import Path

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import is_file, is_folder
from fsbench.predict.query_images import SUFFIXES
from fsbench.predict.read_supports import SupportSpec, read_supports
from fsbench.predict.support import Support

PHOTOS, MASKS = "photos", "masks"
FORMS = (
    f"a folder with JSON files of LabelMe or COCO, or one with {PHOTOS}/ and {MASKS}/, where a photo and its mask have "
    "one name"
)


def read_support_folder(path: Path, classes: str = "") -> tuple[list[Support], list[str]]:
    """Read all supports of a folder.

    Args:
        path: one of `FORMS`.
        classes: as of `read_supports`.

    Returns:
        The supports, and notes for the user.

    Raises:
        SettingsError: there is no such folder, or no support in it.
        DataError: a file is unusable.
    """
    if not is_folder(path):
        raise SettingsError(f"--supports {path} is no folder; expected {FORMS}")
    return read_supports(_specs(path), classes, path / PHOTOS if is_folder(path / PHOTOS) else None)


def _specs(folder: Path) -> list[SupportSpec]:
    """Return the supports of a folder in the parsed form of `read_supports`."""
    files = sorted(file for file in folder.glob("*.json") if is_file(file))
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
