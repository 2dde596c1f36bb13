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


class Plausibility:
    """Collects what labelled images show, one by one, and says what is not plausible of them."""

    def __init__(self) -> None:
        self._images = 0
        self._found: list[list[tuple[str, str]]] = [[] for _ in CHECKS]

    def add(self, image_name: str, labels: np.ndarray, image: LabelledImage | None = None) -> None:
        """Look at the label map (H, W) uint8 of an image (0 background, 255 void, else a class), and at its files.

        Raises:
            DataError: photo and mask are GeoTIFFs of different places.
        """
        self._images += 1
        outlines = image.labels if image and isinstance(image.labels, Outlines) else None
        photo = image.photo if image and isinstance(image.photo, Path) else None
        if image:
            check_place(image)
        for check, seen in zip(CHECKS, self._found, strict=True):
            if found := check.look(labels, outlines, photo):
                seen.append((image_name, found))

    def notes(self) -> list[str]:
        """Return one sentence for each check that found something in more than its share of the images."""
        notes = []
        for check, found in zip(CHECKS, self._found, strict=True):
            if len(found) > check.share * self._images:
                images = ", ".join(name for name, _ in found[:3]) + (", …" if len(found) > 3 else "")
                notes.append(check.sentence.format(images=images, found=found[0][1], number=len(found)))
        return notes


def _between(labels: np.ndarray, *_: object) -> str:
    """Return the classes of which each pixel has a smaller and a larger number, void aside, within two pixels."""
    lowest, highest = labels, np.where(labels == VOID, 0, labels)
    for axis in (0, 1):
        lowest, highest = _extreme(lowest, axis, np.minimum), _extreme(highest, axis, np.maximum)
    inside = np.bincount(labels[(lowest < labels) & (labels < highest)], minlength=256)
    total = np.bincount(labels.ravel(), minlength=256)
    rings = [n for n in range(1, VOID) if total[n] >= _LEAST_RING and inside[n] == total[n]]
    return ", ".join(map(str, rings))


def _extreme(values: np.ndarray, axis: int, rule: np.ufunc) -> np.ndarray:
    values = np.moveaxis(values, axis, 0)
    result = values.copy()
    for step in (1, 2):
        result[step:] = rule(result[step:], values[:-step])
        result[:-step] = rule(result[:-step], values[step:])
    return np.moveaxis(result, 0, axis)


def _mostly_void(labels: np.ndarray, *_: object) -> str:
    void, background = np.count_nonzero(labels == VOID), np.count_nonzero(labels == 0)
    return f"{100 * void // labels.size} %" if 2 * void > labels.size and 10 * background < void else ""


def _covered(_: np.ndarray, outlines: Outlines | None, photo: Path | None) -> str:
    if outlines is None or len({one.name for one in outlines.regions}) < 2:
        return ""
    found = []
    final = outlines.paint().labels
    for number, name in enumerate(outlines.names, 1):
        own = np.zeros(outlines.size, np.uint8)
        for region in outlines.regions:
            if region.name == name:
                region.paint(own, 1, LeftOut())
        covered = np.count_nonzero((own == 1) & (final != number) & (final != VOID) & (final != 0))
        if _MOST_COVERED * np.count_nonzero(own) < covered and (final == number).any():
            found.append(f"{100 * covered // np.count_nonzero(own)} % of {name}")
    return ", ".join(found)


def _elsewhere(_: np.ndarray, outlines: Outlines | None, photo: Path | None) -> str:
    if not (outlines and photo) or names_path(outlines.stated, photo.absolute()):
        return ""
    return f"{outlines.stated}: {photo}"


def _other_name(_: np.ndarray, outlines: Outlines | None, photo: Path | None) -> str:
    """Return a photo that has the name of a file without a picture of its own, while the file names another one."""
    if not (outlines and photo and outlines.stated) or outlines.picture or outlines.file.stem == photo.stem:
        return ""
    own = (photo.with_name(outlines.file.stem + suffix) for suffix in SUFFIXES)
    return next((f"{outlines.file} names {photo}, while there is {one}" for one in own if is_file(one)), "")


def check_place(image: LabelledImage) -> None:
    """Raise DataError if a photo and its mask are GeoTIFFs of one size and of different places; reads headers alone."""
    photo, labels = image.photo, image.labels
    if isinstance(photo, bytes) or not isinstance(labels, MaskFile):
        return
    if not all(file.suffix.lower() in (".tif", ".tiff") for file in (photo, labels.file)):
        return
    own, other = _place(photo), _place(labels.file)
    if own is None or other is None or own.size != other.size:
        return
    found = "is in another coordinate system than"
    if not (any(own.systems) and any(other.systems) and own.systems != other.systems):
        corners = np.array([[0, 0, 1], [*own.size, 1]]).T
        at = np.linalg.solve(own.matrix, other.matrix @ corners)[:2].T  # of the mask's corners, in the photo's pixels
        if np.abs(at - corners[:2].T).max() < 1:
            return
        (left, top), (right, bottom) = at.round().astype(int).tolist()
        found = f"reaches from row {top}, column {left} to row {bottom}, column {right} of"
    raise DataError(
        f"the mask {labels.file} {found} {photo}, by what both GeoTIFFs say of their places; expected one place; write "
        "the mask with the photo's transform"
    )


class _Place(NamedTuple):
    """Matrix (3, 3) from a GeoTIFF's columns and rows to places, its coordinate systems, and its width and height."""

    matrix: np.ndarray
    systems: tuple[int, ...]
    size: tuple[int, int]


def _place(file: Path) -> _Place | None:
    try:
        with open_image(file, "label map") as picture:
            size, tags = picture.size, dict(getattr(picture, "tag_v2", {}))
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
    return _Place(matrix, tuple(keys.get(key, 0) for key in _SYSTEMS), size) if np.linalg.det(matrix) else None


class _Check(NamedTuple):
    """What to look for, and the note with {images}, the {number} of them, and what was {found} in the first.

    It is said if it concerns more than a `share` of the images.
    """

    look: Callable[[np.ndarray, Outlines | None, Path | None], str]
    sentence: str
    share: float = 0


CHECKS = (
    _Check(
        _between,
        "label maps as after smooth resizing ({number}: {images}): a class ({found}) lies nowhere but "
        "between a smaller and a larger number; resize label maps by the nearest pixel",
        share=0.1,
    ),
    _Check(
        _mostly_void,
        "255 is void, and covers {found} of the label map where 0, the background, is hardly anywhere "
        "({number}: {images}); if 255 is the background, save it as 0",
        share=0.5,
    ),
    _Check(
        _covered,
        "later objects cover earlier ones of other classes ({number}: {images}): {found}; order the objects "
        "so that what lies in front comes last",
    ),
    _Check(
        _elsewhere,
        "photos were found by their names alone, while their files name other folders ({number}: {found}); check that "
        "they are those that were labelled",
    ),
    _Check(
        _other_name,
        "the photo that a file names is not that of its own name ({number}: {found}); if files were renamed, give each "
        "photo with its file (photo:file.json)",
    ),
)
"""All checks. Run lengths along the rows are refused by `coco`, and masks in class folders are noted by `folders`."""
