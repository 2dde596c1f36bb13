"""What labelled images allow but hardly mean: one table of checks, the same in `predict`, `data check` and a run."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import is_file
from fsbench.base.files.images import open_image
from fsbench.data.dataset import VOID
from fsbench.data.labelled.image import LabelledImage, MaskFile
from fsbench.data.labelled.outlines import LeftOut, Outlines
from fsbench.data.labelled.photos import SUFFIXES, names_path
from fsbench.data.picture_file import UNDECODABLE

_MOST_COVERED = 0.1
"""Share of a class's pixels that later objects may cover, as where outlines touch."""
_LEAST_RING = 10
"""Pixels of a class that lies between two others, below which it may be a speck."""
_SCALE, _TIE, _MATRIX, _GEO_KEYS = 33550, 33922, 34264, 34735
"""Tags of a GeoTIFF."""
_POINT, _SYSTEMS = 1025, (2048, 3072)
"""Keys of a GeoTIFF: whether places are those of pixels' centres (2), and the coordinate systems."""


class Check(NamedTuple):
    """A row of the table.

    Attributes:
        name: a word for the check.
        found: function from an image's name, label map (H, W) uint8 and, if it is known, the labelled image, to what it
            finds, "" for nothing.
        sentence: the note or refusal, with {images}, {number} of them, and {found}, what was found in the first.
        is_refused: whether the image is refused.
        of_most: whether the note is only said if more than half of the images are concerned.
    """

    name: str
    found: Callable[[np.ndarray, LabelledImage | None], str]
    sentence: str
    is_refused: bool = False
    of_most: bool = False


class Plausibility:
    """Collects what labelled images show, one by one, and says what is not plausible of them."""

    def __init__(self) -> None:
        self._images = 0
        self._found: dict[str, list[tuple[str, str]]] = {check.name: [] for check in CHECKS}

    def add(self, image_name: str, labels: np.ndarray, image: LabelledImage | None = None) -> None:
        """Look at the label map (H, W) uint8 of an image: 0 background, 255 void, else a class.

        Args:
            image_name: name for messages.
            labels: the label map.
            image: the labelled image, for checks of its files.

        Raises:
            DataError: what the image's files say of themselves contradicts their use.
        """
        self._images += 1
        for check in CHECKS:
            if found := check.found(labels, image):
                if check.is_refused:
                    raise DataError(check.sentence.format(images=image_name, found=found, number=1))
                self._found[check.name].append((image_name, found))

    def notes(self) -> list[str]:
        """Return one sentence for each check that found something."""
        notes = []
        for check in CHECKS:
            found = self._found[check.name]
            if found and (not check.of_most or 2 * len(found) > self._images):
                images = ", ".join(name for name, _ in found[:3]) + (", …" if len(found) > 3 else "")
                notes.append(check.sentence.format(images=images, found=found[0][1], number=len(found)))
        return notes


def _between(labels: np.ndarray, _: LabelledImage | None) -> str:
    """Return the classes of which each pixel has a smaller and a larger number, void aside, within two pixels."""
    lowest = highest = labels
    highest = np.where(labels == VOID, 0, labels)
    for axis in (0, 1):
        lowest, highest = (
            _extreme(values, axis, rule) for values, rule in ((lowest, np.minimum), (highest, np.maximum))
        )
    inside = np.bincount(labels[(lowest < labels) & (labels < highest)], minlength=256)
    total = np.bincount(labels.ravel(), minlength=256)
    rings = [n for n in range(1, VOID) if total[n] >= _LEAST_RING and inside[n] == total[n]]
    return ", ".join(map(str, rings))


def _extreme(values: np.ndarray, axis: int, rule: np.ufunc) -> np.ndarray:
    """Return the smallest or largest value within two pixels along an axis."""
    values = np.moveaxis(values, axis, 0)
    result = values.copy()
    for step in (1, 2):
        result[step:] = rule(result[step:], values[:-step])
        result[:-step] = rule(result[:-step], values[step:])
    return np.moveaxis(result, 0, axis)


def _mostly_void(labels: np.ndarray, _: LabelledImage | None) -> str:
    void, background = np.count_nonzero(labels == VOID), np.count_nonzero(labels == 0)
    return f"{100 * void // labels.size} %" if 2 * void > labels.size and 10 * background < void else ""


def _covered(_: np.ndarray, image: LabelledImage | None) -> str:
    """Return the classes of outlines of which later objects of other classes cover more than a tenth."""
    if image is None or not isinstance(image.labels, Outlines) or len({one.name for one in image.labels.regions}) < 2:
        return ""
    size, found = image.labels.size, []
    final = image.labels.paint().labels
    for number, name in enumerate(image.labels.names, 1):
        own = np.zeros(size, np.uint8)
        for region in image.labels.regions:
            if region.name == name:
                region.paint(own, 1, LeftOut())
        covered = np.count_nonzero((own == 1) & (final != number) & (final != VOID) & (final != 0))
        if _MOST_COVERED * np.count_nonzero(own) < covered and (final == number).any():
            found.append(f"{100 * covered // np.count_nonzero(own)} % of {name}")
    return ", ".join(found)


def _elsewhere(_: np.ndarray, image: LabelledImage | None) -> str:
    """Return the path that a file states of a photo which was found by its bare name in another folder."""
    if image is None or not isinstance(image.labels, Outlines) or not isinstance(image.photo, Path):
        return ""
    return "" if names_path(image.labels.stated, image.photo.absolute()) else f"{image.labels.stated}: {image.photo}"


def _other_name(_: np.ndarray, image: LabelledImage | None) -> str:
    """Return a photo that has the name of a file without a picture of its own, while the file names another one."""
    if image is None or not isinstance(image.labels, Outlines) or not isinstance(image.photo, Path):
        return ""
    file, photo = image.labels.file, image.photo
    if image.labels.picture or not image.labels.stated or file.stem == photo.stem:
        return ""
    own = (photo.with_name(file.stem + suffix) for suffix in SUFFIXES)
    return next((f"{file} names {photo}, while there is {one}" for one in own if is_file(one)), "")


def _other_place(_: np.ndarray, image: LabelledImage | None) -> str:
    """Return where the mask of a photo lies, if both are GeoTIFFs, and not in one place."""
    if image is None or not isinstance(image.labels, MaskFile) or not isinstance(image.photo, Path):
        return ""
    files = (image.photo, image.labels.file)
    if not all(file.suffix.lower() in (".tif", ".tiff") for file in files):
        return ""
    photo, mask = map(_place, files)
    if photo is None or mask is None:
        return ""
    if photo[1] and mask[1] and photo[1] != mask[1]:
        return f"{files[1]} is in another coordinate system than the photo"
    height, width = image.labels.read(image.photo).labels.shape
    corners = np.array([[0, 0, 1], [width, height, 1]]).T
    at = np.linalg.solve(photo[0], mask[0] @ corners)[:2].T  # of the mask's corners, in pixels of the photo
    if np.abs(at - corners[:2].T).max() < 1:
        return ""
    (left, top), (right, bottom) = at.round().astype(int).tolist()
    return f"{files[1]} reaches from row {top}, column {left} of the photo to row {bottom}, column {right}"


def _place(file: Path) -> tuple[np.ndarray, tuple[int, ...]] | None:
    """Return the matrix (3, 3) from a GeoTIFF's columns and rows to places, and its coordinate systems."""
    try:
        with open_image(file, "label map") as picture:
            tags = dict(getattr(picture, "tag_v2", {}))
        entries = np.array(tags.get(_GEO_KEYS, ()), dtype=int)
        keys = {int(key): int(value) for key, _, _, value in entries[4 : len(entries) // 4 * 4].reshape(-1, 4)}
        if _MATRIX in tags:
            matrix = np.array(tags[_MATRIX], float).reshape(4, 4)[np.ix_([0, 1, 3], [0, 1, 3])]
        elif _SCALE in tags and _TIE in tags:
            (wide, high), (column, row, _, x, y, _) = tags[_SCALE][:2], tags[_TIE][:6]
            matrix = np.array([[wide, 0, x - wide * column], [0, -high, y + high * row], [0, 0, 1.0]])
        else:
            return None
    except UNDECODABLE:  # whoever reads it says what is wrong
        return None
    if keys.get(_POINT) == 2:
        matrix = matrix @ np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
    return (matrix, tuple(keys.get(key, 0) for key in _SYSTEMS)) if np.linalg.det(matrix) else None


CHECKS = (
    Check(
        "interpolated",
        _between,
        "label maps as after smooth resizing ({number}: {images}): a class ({found}) lies nowhere but "
        "between a smaller and a larger number; resize label maps by the nearest pixel",
    ),
    Check(
        "void for background",
        _mostly_void,
        "255 is void, and covers {found} of the label map where 0, the background, is hardly anywhere "
        "({number}: {images}); if 255 is the background, save it as 0",
        of_most=True,
    ),
    Check(
        "covered",
        _covered,
        "later objects cover earlier ones of other classes ({number}: {images}): {found}; order the objects "
        "so that what lies in front comes last",
    ),
    Check(
        "photos by bare name",
        _elsewhere,
        "photos were found by their names alone, while their files name other folders ({number}: {found}); check that "
        "they are those that were labelled",
    ),
    Check(
        "renamed files",
        _other_name,
        "the photo that a file names is not that of its own name ({number}: {found}); if files were renamed, give each "
        "photo with its file (photo:file.json)",
    ),
    Check(
        "GeoTIFF of another place",
        _other_place,
        "the mask {found}, by what both GeoTIFFs say of their places ({images}); expected one place; write the mask "
        "with the photo's transform",
        is_refused=True,
    ),
)
"""All checks. Run lengths along the rows are refused by `coco`, and masks in class folders are noted by `folders`."""
