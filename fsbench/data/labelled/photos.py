"""The pictures of a folder, and what the names of folders say of them: photo, mask, part of the data set."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from fsbench.base.errors import DataError
from fsbench.base.files import is_file
from fsbench.base.files.names import composed, existing_form, other_case

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".heic", ".heif")
"""Ends of the names of pictures."""
UNREAD_PICTURES = (
    *(".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".dcm"),
    *(".gif", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".psd", ".avif", ".jp2", ".jxl", ".jfif", ".tga", ".svg"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Ends of the names of pictures and scans that are not read, and of which a note says so."""
UNREAD = (*UNREAD_PICTURES, ".npy", ".mat", ".xml")
"""The same of pictures and of labels."""
TABLES = (".csv", ".tsv", ".parquet")
PHOTO_WORDS = ("photos", "photo", "images", "image", "imgs", "img", "jpegimages", "pictures")
MASK_WORDS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "segmentationclassaug",
    "segmentations", "segmentation", "gt", "ground", "truth", "groundtruth",
)  # fmt: skip
"""Words of which the names of sister folders are made, one of photos and one of masks: "train_masks", "JPEGImages"."""
PARTS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words for the parts of a data set."""


def part_word(texts: Iterable[str]) -> str:
    """Return "train", "val" or "test" of the first text with a word for it, "" if none has one.

    >>> part_word(["instances_val2017.json"])
    'val'
    """
    words = (word for text in texts for word in re.split(r"[^a-z]+", text.lower()))
    return next((PARTS[word] for word in words if word in PARTS), "")


@dataclass(frozen=True)
class Picture:
    """A picture of a data set, and what the folders below the data set's say of it.

    `folders` are those that do not say "photos" or "masks", and `kinds` what the others say: "photo", "mask".
    """

    path: Path
    folders: tuple[str, ...]
    kinds: frozenset[str]

    @property
    def key(self) -> str:
        """Name in the data set: of images/train/a.jpg and of masks/train/a.png it is train/a."""
        return composed("/".join((*self.folders, self.path.stem)))

    @property
    def part(self) -> str:
        return part_word(reversed(self.folders))


@dataclass
class Listing:
    """The visible files of a folder and the folders in it, sorted."""

    root: Path
    pictures: list[Picture] = field(default_factory=list)
    annotations: list[Path] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    results: list[Path] = field(default_factory=list)

    @cached_property
    def photos(self) -> dict[str, list[Path]]:
        """The photos of each file name."""
        found: dict[str, list[Path]] = {}
        for picture in (one for one in self.pictures if "mask" not in one.kinds):
            found.setdefault(composed(picture.path.name), []).append(picture.path)
        return found


def walk_folders(root: Path, refused: list[str] | None = None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield a folder and those below it, each with the sorted names of its visible folders and files.

    Links to folders are followed after all others, and each folder comes once. What is removed from the list of folders
    is left out.

    Args:
        refused: List to which messages about unreadable folders are appended; None raises DataError for such a folder.
    """

    def on_error(error: OSError) -> None:
        unreadable = DataError(f"folder {error.filename} cannot be read ({error.strerror}); check its permissions")
        if refused is None:
            raise unreadable from error
        refused.append(str(unreadable))

    starts, seen = [root], set[Path]()
    for start in starts:
        for parent, folders, files in os.walk(start, onerror=on_error):
            folder = Path(parent)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if (place := folder.resolve()) in seen:
                folders.clear()
                continue
            seen.add(place)
            yield folder, folders, sorted(name for name in files if not name.startswith("."))
            starts += [folder / name for name in folders if (folder / name).is_symlink()]


def list_folder(root: Path) -> Listing:
    """List the files of a folder; results of `fsbench predict` in folders below it are left out."""
    found = Listing(root)
    for folder, folders, files in walk_folders(root):
        if folder != root and {"annotations.json", "scores.csv"} <= {*files}:
            found.results.append(folder)
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith("__")]
        kept, kinds = _read_folders(folder.relative_to(root).parts)
        for file in (folder / name for name in files):
            suffix = file.suffix.lower()
            if suffix in SUFFIXES:
                found.pictures.append(Picture(file, kept, kinds))
            elif suffix == ".json":
                found.annotations.append(file)
            elif suffix == ".txt" and part_word([file.stem]):
                found.lists.append(file)
            elif file.name.lower().endswith(UNREAD) or "mask" in kinds:
                found.unread.append(file)
    return found


def _read_folders(names: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    kept: list[str] = []
    kinds: set[str] = set()
    for name in names:
        words = [word for word in re.split(r"[\W\d_]+", name.lower()) if word]
        if words and all(word in (*PHOTO_WORDS, *MASK_WORDS, *PARTS) for word in words):
            kinds |= {"mask" for word in words if word in MASK_WORDS}
            kinds |= {"photo" for word in words if word in PHOTO_WORDS}
            kept += [PARTS[word] for word in words if word in PARTS]
        else:
            kept.append(name)
    return tuple(kept), frozenset(kinds)


def find_photo(stated: str, file: Path, root: Path | None, listing: Listing | None = None, word: str = "") -> Path:
    """Find the photo named in an annotation file: at its path, among listed pictures, or by its name in a folder.

    Backslashes count as separators, "%20" may stand for a space, and accents may be in another Unicode form. `root`
    stands for the annotation file's folder and `photos/` in it, and `word`, the part of the data set, decides between
    several pictures of one name.

    Raises:
        DataError: the photo is not found, or several are.
    """
    folders = [root] if root else [file.parent, file.parent / "photos"]
    plain = PurePosixPath(stated.replace("\\", "/"))
    paths = (PurePosixPath(stated), plain, PurePosixPath(unquote(str(plain))))
    for path in paths:
        for found in (existing_form(folder / path) for folder in folders):
            if found is not None and is_file(found):
                return _as_listed(Path(os.path.normpath(found)) if ".." in found.parts else found, listing)
    photos = listing.photos if listing else {}
    listed = [path for name in {composed(path.name) for path in paths} for path in photos.get(name, ())]
    for choice in (
        [path for path in listed if names_path(stated, path)],
        [path for path in listed if word and part_word(reversed(path.parent.parts)) == word],
        [one for folder in folders for path in paths if (one := existing_form(folder / path.name)) and is_file(one)],
        listed,
    ):
        if len(choice) == 1 or (choice and choice[0].parent in folders):
            return choice[0]
    if listed:
        raise DataError(
            f"{file} is about the photo {plain}, of whose name there are {len(listed)}: {listed[0]}, {listed[1]}; "
            "expected one; name its folder in the file, too"
        )
    raise DataError(
        f"{file} is about the photo {plain}, which is not in {folders[0]}{other_case(folders[0] / plain)}; put it "
        "there or give --support-root"
    )


def _as_listed(photo: Path, listing: Listing | None) -> Path:
    """Return the path of a photo by which it is listed: an annotation file may name it from the root of the disk."""
    if listing is None or photo.is_relative_to(listing.root):
        return photo
    alike = listing.photos.get(composed(photo.name), ())
    return next((one for one in alike if one.parent.samefile(photo.parent)), photo)


def names_path(stated: str, photo: Path) -> bool:
    """Return whether a photo lies in the folders that an annotation file names; true where it names none."""
    plain = PurePosixPath(composed(unquote(stated.replace("\\", "/"))))
    parts = [part for part in plain.parts if part not in ("..", ".")]
    return not parts or [composed(part) for part in photo.parts[-len(parts) :]] == parts
