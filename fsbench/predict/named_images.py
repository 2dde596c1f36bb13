"""Find the images that annotation files name."""

from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from fsbench.base.errors import DataError
from fsbench.base.files import is_file
from fsbench.base.files.names import existing_form, other_case


def named_image(stated: str, file: Path, root: Path | None) -> Path:
    """Find an image: at its stated path or, by its name alone, in `root` (default: the folder of `file`).

    Windows's separator is one, "%20" may stand for a space, and accents may be written in another form of Unicode.

    Args:
        stated: path as the annotation file has it.
        file: the annotation file.
        root: folder of the images, instead of the file's.

    Raises:
        DataError: it is in neither place.
    """
    folder = root or file.parent
    plain = PurePosixPath(stated.replace("\\", "/"))
    spaced = PurePosixPath(unquote(str(plain)))
    for path in (PurePosixPath(stated), plain, spaced, plain.name, spaced.name):
        found = existing_form(folder / path)
        if found is not None and is_file(found):
            return found
    raise DataError(
        f"{file} is about the photo {plain}, which is not in {folder}{other_case(folder / plain)}; put it there or "
        "give --support-root"
    )
