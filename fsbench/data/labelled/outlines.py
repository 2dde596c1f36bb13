"""Objects drawn as outlines or masks on a photo, as LabelMe's and COCO's files have them: painted and fitted."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
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
_SIDE, _MOST_DIFFERENCE = 16, 12
"""Squares of this side have mean colours that differ by this much, of 256, at most in one picture compressed twice."""

_CUT = "cut at the border"

LeftOut = Counter[tuple[str, str]]
"""(class, reason) -> number of objects that were left out, or cut at the image's border."""


def left_out_notes(file: Path, left_out: LeftOut) -> list[str]:
    """Return sentences on the objects of a file that were left out or cut."""
    cut = ", ".join(f"{number} of {name}" for (name, reason), number in left_out.items() if reason == _CUT)
    words = ", ".join(f"{number} of {name} ({why})" for (name, why), number in left_out.items() if why != _CUT)
    notes = [remark("objects_left_out", f"{file}:", objects=words)] if words else []
    return notes + [f"{file}: outlines reach out of the image, as of a larger photo, and are cut: {cut}"] * bool(cut)


class Region(NamedTuple):
    """One object: outlines (n, 2) to be filled, as x and y, or a function from an image's size to its pixels."""

    name: str
    outlines: tuple[np.ndarray, ...] = ()
    mask: Callable[[int, int], np.ndarray] | None = None

    def paint(self, labels: np.ndarray, number: int, left_out: LeftOut) -> bool:
        """Set the object's pixels of a label map (H, W) uint8, and return whether there are any."""
        height, width = labels.shape
        inside = [corners for corners in self.outlines if not outline_problem(corners, labels.shape)]
        mask = None if self.mask is None else self.mask(height, width)
        is_drawn = bool(inside) or (mask is not None and bool(mask.any()))
        if len(inside) < len(self.outlines) or not is_drawn:
            left_out[self.name, f"a part of one: {OUTSIDE}" if is_drawn else OUTSIDE] += 1
        if any(np.maximum(-corners, corners - [width, height]).max() > _NEAR_BORDER for corners in inside):
            left_out[self.name, _CUT] += 1
        for corners in inside:
            fill_outline(labels, corners, number)
        if mask is not None:
            labels[mask] = number
        return is_drawn


@dataclass(frozen=True)
class Outlines:
    """All objects on a photo; later ones are painted over earlier ones.

    Attributes:
        regions: the objects. Those of the class `_background_` paint background, those of `__ignore__` void.
        size: height and width of the photo as the file states them.
        names: names of number 1, 2, … of the label map.
        stated: path of the photo as the file states it; "" if the user names the photo.
        picture: LabelMe's copy of the photo, the content of an image file; b"" without one.
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

    def paint(self) -> Drawn:
        """Return the label map as the file means it, without fitting it to a photo."""
        labels, left_out = np.zeros(self.size, np.uint8), LeftOut()
        values = {name: number for number, name in enumerate(self.names, 1)} | {**RESERVED}
        drawn = {region.name for region in self.regions if region.paint(labels, values[region.name], left_out)}
        shown = set(np.unique(labels).tolist())
        classes = {values[name]: name for name in self.names if values[name] in shown}
        left_out.update((name, "covered by others") for name in self.names if name in drawn - {*classes.values()})
        words = [f"{name} is {'void' if value else 'background'}" for name, value in RESERVED.items() if name in drawn]
        reserved = [f"{self.file}: {' and '.join(words)}"] * bool(words)
        return Drawn(labels, classes, (*reserved, *self.notes, *left_out_notes(self.file, left_out)))

    def read(self, photo: Path | bytes) -> Drawn:
        if isinstance(photo, bytes):
            return self._on_picture()[1]
        if self.picture and self.picture != read_bytes(photo, "image"):
            return self._on_other_copy(photo)
        header = picture_header(photo)
        framed, notes = self._framed(header, photo)
        labels, classes, more = framed.paint()
        return Drawn(fit_labels(labels, photo, header, self.file), classes, (*more, *notes))

    def _framed(self, header: PictureHeader, photo: Path) -> tuple["Outlines", list[str]]:
        """Return the outlines in the frame in which they were drawn, and a note where that is not sure.

        Label Studio measures on the photo as it is shown, and writes the stored size. Other programs may, too.
        """
        upright, told = header.shown_shape, [remark("fits_both_ways", photo)]
        if not is_turned(header.orientation) or self.size != header.stored_shape:
            return self, []
        if upright == self.size:
            return self, told
        if not self.may_be_upright or any(region.mask for region in self.regions):
            return self, []
        if self.is_per_cent:
            scale = np.divide(upright, self.size)[::-1]
            regions = (one._replace(outlines=tuple(part * scale for part in one.outlines)) for one in self.regions)
            return replace(self, regions=tuple(regions), size=upright), []
        ends = [outline.max(0) for region in self.regions for outline in region.outlines]
        fits = (np.max(ends, 0) <= np.add(upright[::-1], _NEAR_BORDER)).all() if ends else False
        return (replace(self, size=upright), told) if fits else (self, [])

    def _on_picture(self) -> tuple[np.ndarray, Drawn]:
        try:
            pixels, header = read_photo(self.picture, "imageData")
            drawn = self.paint()
            labels = fit_labels(drawn.labels, "imageData", header, self.file)
        except DataError as error:
            reason = str(error).partition(";")[0]
            raise refusal("labelme_picture_unusable", self.file, file=self.file, reason=reason) from error
        return apply_orientation(pixels, header.turn), drawn._replace(labels=labels)

    def _on_other_copy(self, photo: Path) -> Drawn:
        picture, drawn = self._on_picture()
        pixels, header = read_photo(photo)
        pixels = apply_orientation(pixels, header.turn)
        for turn in (1, header.orientation):
            if _is_same(apply_orientation(picture, turn), pixels):
                return drawn._replace(labels=apply_orientation(drawn.labels, turn))
        raise refusal("labelme_picture_differs", self.file, file=self.file, photo=photo)


def _is_same(picture: np.ndarray, photo: np.ndarray) -> bool:
    if picture.shape != photo.shape:
        return False
    means = [np.asarray(Image.fromarray(pixels).reduce(_SIDE), dtype=int) for pixels in (picture, photo)]
    return bool(np.abs(means[0] - means[1]).max() <= _MOST_DIFFERENCE)
