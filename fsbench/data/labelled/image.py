"""The value `LabelledImage`, and what is drawn on its photo: a label map, a mask, outlines or run lengths."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.dataset import VOID
from fsbench.data.image_io import HALF, read_mask
from fsbench.data.palettes import Colour, SeenColours

NO_CLASS = "something else"
"""Name of a marked region that is none of the classes, unless the user names it."""


class Drawn(NamedTuple):
    """What is drawn on a photo, fitted to the photo's upright form.

    `labels` is (H, W) uint8: 0 background, 255 void, else a number. Numbers that are not in `classes` are ignored.
    """

    labels: np.ndarray
    classes: Mapping[int, str]
    notes: tuple[str, ...] = ()


class Labels(Protocol):
    """Labels of a photo in whatever form; `file` is where they come from, for messages and checksums."""

    @property
    def file(self) -> Path: ...

    def read(self, photo: Path | bytes) -> Drawn:
        """Return what is drawn on the photo. Raises DataError if it cannot be read, or does not fit the photo."""


@dataclass(frozen=True)
class MaskFile:
    """A label map, or the mask of one class.

    Attributes:
        names: {number: class name} of a label map, other numbers being ignored; the name of a mask's one class; None
            for a label map whose numbers n are called "class n".
        colours: {colour: class name} of a mask painted in colours, each of which is named.
        seen: colours of the palettes of the label maps that were read before, which must agree.
        is_complete: numbers that have no name are refused rather than ignored.
        is_numbered: other label maps beside it have class numbers, so that 255 is void, and no white.
    """

    file: Path
    names: Mapping[int, str] | str | None = None
    colours: Mapping[Colour, str] = field(default_factory=dict)
    seen: SeenColours = field(default_factory=dict, compare=False, repr=False)
    is_complete: bool = False
    is_numbered: bool = False

    def read(self, photo: Path | bytes) -> Drawn:
        own = self.names if isinstance(self.names, str) else ""
        known = {**self.names} if isinstance(self.names, Mapping) else {}
        free = (number for number in range(1, VOID) if number not in known)
        colours = {colour: next(free) for colour in self.colours}
        beside = photo if isinstance(photo, Path) else None
        labels, smoothed = read_mask(
            self.file,
            None if own else self.seen,
            is_one_class=bool(own),
            photo=beside,
            colours=colours,
            is_numbered=self.is_numbered,
        )
        notes = []
        if smoothed and len(set(np.unique(labels).tolist()) - {0, VOID, *known}) > len(known):
            if not own:
                raise DataError(
                    f"mask {self.file} has {len(np.unique(labels))} grey levels, as smoothed edges have; name its one "
                    "class (name=photo:mask), or its numbers with --classes"
                )
            labels = (labels >= HALF).astype(np.uint8)
            notes.append(f"the edges of mask {self.file} are smoothed; what is at least half white ({HALF}) is taken")
        numbers = [number for number in np.unique(labels).tolist() if number not in (0, VOID)]
        if own and len(numbers) > 1 and own != NO_CLASS:
            raise DataError(
                f"mask {self.file} has the numbers {', '.join(map(str, numbers[:8]))}, but one class was named "
                f"({own}); name them with --classes {numbers[0]}={own},{numbers[1]}=… and leave out '{own}='"
            )
        known |= {colours[colour]: name for colour, name in self.colours.items()}
        names = known if known else {number: own or f"class {number}" for number in numbers}
        if self.is_complete and (unnamed := [number for number in numbers if number not in names]):
            raise DataError(
                f"label map {self.file} holds the number {unnamed[0]}, which has no name; expected 0, 255 or one of "
                f"{', '.join(map(str, sorted(names)))}; name it, or correct the label map"
            )
        return Drawn(labels, {number: names[number] for number in numbers if number in names}, tuple(notes))


@dataclass(frozen=True)
class LabelledImage:
    """A photo, what is drawn on it, and what else is known of it.

    Attributes:
        name: unique in its table: the photo's path below the folder, without suffix.
        photo: the photo's file; bytes of the picture that a LabelMe file holds itself.
        labels: what is drawn on the photo; None if it is not labelled.
        part: "trn" training, "val" test; None if nothing says it. What is no table yet has "train", "val" or "test".
        group: the patient, scene or object that the photo shows.
        classes: {class name: whether the photo shows it}; False for a negative.
    """

    name: str
    photo: Path | bytes
    labels: Labels | None = None
    part: str | None = None
    group: str | None = None
    classes: Mapping[str, bool] = field(default_factory=dict)
