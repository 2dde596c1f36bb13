"""Objects drawn as outlines or masks on a photo, as LabelMe's and COCO's files have them: checked, painted, fitted."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.base.files import read_bytes
from fsbench.data.annotation_rules import OUTSIDE, RESERVED, outline_problem
from fsbench.data.file_rules import refusal, remark
from fsbench.data.image_io import read_photo
from fsbench.data.labelled.image import Drawn
from fsbench.data.orientation import apply_orientation, fit_labels
from fsbench.data.painting import fill_outline
from fsbench.data.picture_file import PictureHeader, is_turned, picture_header

_NEAR_BORDER = 2
"""Pixels that a corner may lie outside of its image, as rounding and unsteady hands leave it."""
_SIDE = 16
"""Side in pixels of the squares whose mean colours are compared; JPEG keeps colours of squares of this size."""
_MOST_DIFFERENCE = 12
"""Largest difference of such means, of 256, of one picture compressed twice."""


class Region(NamedTuple):
    """One object.

    Attributes:
        name: the class.
        outlines: outlines to be filled, corners (n, 2) as x and y.
        mask: a function from height and width of the image to its pixels (H, W) bool.
    """

    name: str
    outlines: tuple[np.ndarray, ...] = ()
    mask: Callable[[int, int], np.ndarray] | None = None

    def paint(self, labels: np.ndarray, number: int, left_out: "LeftOut") -> bool:
        """Set the object's pixels of a label map (H, W) uint8, and return whether there are any.

        Outlines are filled with their boundary. What lies outside the image is counted in `left_out`.
        """
        size = labels.shape
        inside = [corners for corners in self.outlines if not outline_problem(corners, size)]
        mask = None if self.mask is None else self.mask(*size)
        is_drawn = bool(inside) or (mask is not None and bool(mask.any()))
        if len(inside) < len(self.outlines) or not is_drawn:
            left_out.add(self.name, f"a part of one: {OUTSIDE}" if is_drawn else OUTSIDE)
        left_out.add_outside(self.name, inside, size)
        for corners in inside:
            fill_outline(labels, corners, number)
        if mask is not None:
            labels[mask] = number
        return is_drawn


@dataclass(frozen=True)
class Outlines:
    """All objects on a photo; later ones are painted over earlier ones.

    Attributes:
        file: the annotation file.
        regions: the objects. Those of the class `_background_` paint background, those of `__ignore__` void.
        size: height and width of the photo as the file states them.
        names: names of number 1, 2, … of the label map.
        stated: path of the photo as the file states it.
        picture: LabelMe's copy of the photo, the content of an image file; b"" without one.
        notes: sentences on shapes of the file that cannot be read.
        is_per_cent: whether corners are shares of the photo as shown, times the size that the file states.
        may_be_upright: whether the stated size may be the stored one while the outlines lie on the turned photo.
    """

    file: Path
    regions: tuple[Region, ...]
    size: tuple[int, int]
    names: tuple[str, ...]
    stated: str = ""
    picture: bytes = b""
    notes: tuple[str, ...] = ()
    is_per_cent: bool = False
    may_be_upright: bool = False

    def paint(self, size: tuple[int, int] | None = None) -> Drawn:
        """Return the label map as the file means it, without fitting it to a photo.

        Args:
            size: height and width of the image, where they are others than those stated.
        """
        size = size or self.size
        labels = np.zeros(size, np.uint8)
        values = {name: number for number, name in enumerate(self.names, 1)} | RESERVED
        left_out = LeftOut()
        drawn = {region.name for region in self.regions if region.paint(labels, values[region.name], left_out)}
        shown = set(np.unique(labels).tolist())
        classes = {values[name]: name for name in self.names if values[name] in shown}
        for name in self.names:
            if name in drawn and name not in classes.values():
                left_out.add(name, "covered by others")
        words = ((name, "background" if value == 0 else "void") for name, value in RESERVED.items() if name in drawn)
        reserved = " and ".join(f"{name} is {word}" for name, word in words)
        notes = [f"{self.file}: {reserved}"] * bool(reserved)
        return Drawn(labels, classes, (*notes, *self.notes, *left_out.notes(self.file)))

    def read(self, photo: Path | bytes) -> Drawn:
        if isinstance(photo, bytes):
            return self._on_picture()[1]
        if self.picture and self.picture != read_bytes(photo, "image"):
            return self._on_other_copy(photo)
        header = picture_header(photo)
        scaled, size, notes = self._frame(header)
        labels, classes, more = scaled.paint(size)
        if is_turned(header.orientation) and header.shown_shape == header.stored_shape:
            notes = [remark("fits_both_ways", photo)]
        return Drawn(fit_labels(labels, photo, header, self.file), classes, (*more, *notes))

    def _frame(self, header: PictureHeader) -> tuple["Outlines", tuple[int, int], list[str]]:
        """Return outlines, and the height and width in which they are drawn, where the stated size is the stored one.

        Label Studio measures on the photo as it is shown, and writes the stored size. Other programs may, too.
        """
        upright = header.shown_shape
        corners = [outline for region in self.regions for outline in region.outlines]
        has_masks = any(region.mask is not None for region in self.regions)
        if self.size == upright or self.size != header.stored_shape or not self.may_be_upright or not corners:
            return self, self.size, []
        if has_masks:
            if self.is_per_cent:
                raise DataError(
                    f"{self.file} has masks of {self.stated}, which its EXIF entry turns, and does not say on which "
                    "form; expected outlines; save the photo as it is shown, and label that"
                )
            return self, self.size, []
        if self.is_per_cent:
            scale = np.divide(upright, self.size)[::-1]
            regions = (Region(one.name, tuple(outline * scale for outline in one.outlines)) for one in self.regions)
            return self._with(tuple(regions)), upright, []
        right, bottom = np.concatenate(corners).max(0)
        if right > upright[1] + _NEAR_BORDER or bottom > upright[0] + _NEAR_BORDER:
            return self, self.size, []
        return self, upright, [remark("fits_both_ways", f"{self.file}: {self.stated}")]

    def _with(self, regions: tuple[Region, ...]) -> "Outlines":
        return Outlines(self.file, regions, self.size, self.names, self.stated)

    def _on_picture(self) -> tuple[np.ndarray, Drawn]:
        """Return the picture in the annotation file (H, W, 3) uint8, upright, and what is drawn on it."""
        try:
            pixels, header = read_photo(self.picture, "imageData")
            labels, classes, notes = self.paint()
            labels = fit_labels(labels, "imageData", header, self.file)
        except DataError as error:
            reason = str(error).partition(";")[0]
            raise refusal("labelme_picture_unusable", self.file, file=self.file, reason=reason) from error
        return apply_orientation(pixels, header.turn), Drawn(labels, classes, notes)

    def _on_other_copy(self, photo: Path) -> Drawn:
        """Fit the labels to a photo that is another file than the picture, but shows the same."""
        picture, drawn = self._on_picture()
        pixels, header = read_photo(photo)
        pixels = apply_orientation(pixels, header.turn)
        for turn in (1, header.orientation):
            if _is_same(apply_orientation(picture, turn), pixels):
                return drawn._replace(labels=apply_orientation(drawn.labels, turn))
        raise refusal("labelme_picture_differs", self.file, file=self.file, photo=photo)


def _is_same(picture: np.ndarray, photo: np.ndarray) -> bool:
    """Return whether two pictures (H, W, 3) uint8 are one, up to lossy compression."""
    if picture.shape != photo.shape:
        return False
    means = [np.asarray(Image.fromarray(pixels).reduce(_SIDE), dtype=int) for pixels in (picture, photo)]
    return bool(np.abs(means[0] - means[1]).max() <= _MOST_DIFFERENCE)


class LeftOut:
    """Counts, by class and reason, objects of an annotation file that were left out or cut at the image border."""

    def __init__(self) -> None:
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._outside: dict[str, list[tuple[int, int, int, tuple[int, ...]]]] = {}

    def add(self, name: str, reason: str) -> None:
        """Count an object of class `name` that was left out, with the reason in words."""
        self._numbers[name, reason] += 1

    def add_outside(self, name: str, parts: Sequence[np.ndarray], size: tuple[int, ...]) -> None:
        """Count an object of class `name` if corners (n, 2) of its outlines lie outside its image of `size` (H, W)."""
        corners = np.concatenate([np.zeros((0, 2)), *parts])
        beyond = np.maximum(-corners, corners - size[::-1]).max(1)
        if (outside := beyond > _NEAR_BORDER).any():
            found = (int(beyond.max()), int(outside.sum()), len(corners), size)
            self._outside.setdefault(name, []).append(found)

    def notes(self, path: Path) -> list[str]:
        """Return sentences that tell the user which objects of the file `path` were left out or cut at the border."""
        words = ", ".join(f"{number} of {name} ({reason})" for (name, reason), number in self._numbers.items())
        notes = [remark("objects_left_out", f"{path}:", objects=words)] if words else []
        for name, found in self._outside.items():
            most, _, _, (height, width) = max(found)
            outside, corners = (sum(one[place] for one in found) for place in (1, 2))
            told = {"outside": outside, "corners": corners, "most": most, "width": width, "height": height}
            notes.append(remark("corners_outside", f"{path}: {len(found)} of {name}:", **told))
        return notes
