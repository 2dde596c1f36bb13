"""The image lists of PFENet-like programs, HMNet among them: images of one fold in order, and who shows which class.

`data_list_<f>.txt` has a line `<photo>.jpg <label map>.png` for every image. `sub_class_file_list_<f>.txt` is a printed
Python dict {class: [(photo, label map), …]} of the same images; it is parsed as literals, never run (hmnet.md §11.1).
"""

import ast
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from fsbench.base.errors import DataError
from fsbench.data.dataset import Pair, Part
from fsbench.datamodules.lists.official import list_folders
from fsbench.datamodules.lists.text_file import read_list
from fsbench.protocols.episode_rules.image_lists import LEAST, ReleasedImages

MIN_PIXELS = LEAST
"""A pair needs this many pixels of its class."""

_FOLDER = {"trn": "train", "val": "val"}


def find_image_list(
    folders: Sequence[str | Path], dataset: str, part: Part, fold: int, name_of: Callable[[PurePosixPath], str]
) -> ReleasedImages | None:
    """Return the published image list of a part and fold for PFENet-like programs; None if no folder has it.

    The list is looked for at `<folder>/<dataset>/fss_list/<train|val>/data_list_<f>.txt`, and without `fss_list`.

    Args:
        folders: folders of lists.
        dataset: name of the data set.
        part: "trn" for the training list, "val" for the test list.
        fold: the fold.
        name_of: function from the path of a photo in the list to fsbench's image name.

    Raises:
        DataError: a file cannot be read, or `data_list_<f>.txt` and the list's second file name different images.
    """
    for folder in list_folders(folders, dataset):
        for parent in (folder / dataset / "fss_list" / _FOLDER[part], folder / dataset / _FOLDER[part]):
            path = parent / f"data_list_{fold}.txt"
            if path.is_file():
                names = tuple(name_of(photo) for photo in _photos(path))
                classes = parent / f"sub_class_file_list_{fold}.txt"
                members = _members(classes, names, name_of) if classes.is_file() else None
                return ReleasedImages(path, names, members)
    return None


def _photos(path: Path) -> list[PurePosixPath]:
    photos = []
    for number, line in enumerate(read_list(path, "printed list").splitlines(), start=1):
        parts = line.split()
        if not _is_entry(parts):
            raise DataError(
                f"line {number} of list {path} is {line[:80]!r}; expected a photo and its label map, for example "
                "JPEGImages/2007_000033.jpg SegmentationClassAug/2007_000033.png; fetch it again"
            )
        photos.append(PurePosixPath(parts[0]))
    if len(set(photos)) < len(photos):
        twice = next(photo for photo in photos if photos.count(photo) > 1)
        raise DataError(f"list {path} names the image {twice} twice; expected each once; fetch it again")
    return photos


def _members(path: Path, names: Sequence[str], name_of: Callable[[PurePosixPath], str]) -> frozenset[Pair]:
    expected = "expected a printed dict {class: [(photo, label map), …]}; fetch it again"
    try:
        content = ast.literal_eval(read_list(path, "printed list"))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"list {path} cannot be read ({type(error).__name__}); {expected}") from error
    plain = isinstance(content, dict) and all(
        type(number) is int and number > 0 and isinstance(entries, list) and all(map(_is_entry, entries))
        for number, entries in content.items()
    )
    if not plain:
        raise DataError(f"list {path} holds something else; {expected}")
    members = frozenset(
        (name_of(PurePosixPath(photo)), number) for number, entries in content.items() for photo, _ in entries
    )
    here, there = {name for name, _ in members}, set(names)
    if here != there:
        odd = min(here ^ there)
        raise DataError(
            f"{path.name} and data_list beside it differ in {len(here ^ there)} images, {odd} for one; expected the "
            f"same images in both; fetch both files of {path.parent} again"
        )
    return members


def _is_entry(parts: object) -> bool:
    """A photo and its label map, of one name."""
    if not isinstance(parts, list | tuple) or len(parts) != 2 or not all(type(part) is str for part in parts):
        return False
    photo, label = map(PurePosixPath, parts)
    return photo.suffix == ".jpg" and label.suffix == ".png" and photo.stem == label.stem
