"""An image of the page's session: its file, what is marked on it, what was predicted of it."""

import re
import unicodedata
import zlib
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import DataError
from fsbench.predict.query_images import SUFFIXES, read_header, read_upright
from fsbench.predict.support import Support

MOST_PIXELS = 64_000_000
"""Pixels of an image: decoding it, and drawing what the page shows, takes about ten bytes for each."""
LONGEST_STEM = 60
"""Characters of an image's name without its suffix."""
MOST_UNDO = 100
"""Changes of an image's marks that can be taken back."""


@dataclass(frozen=True)
class ImagePrediction:
    """A method's answer for an image, or why there is none.

    Attributes:
        version: Number of the marks that it was made from.
        entry: The answer as plain values, see `Result.save`; None where it failed.
        layer: The masks as a translucent PNG.
        summary: What the method says of each class, or why it failed.
    """

    version: int
    entry: dict[str, Any] | None = None
    layer: bytes = b""
    summary: str = ""


@dataclass
class SessionImage:
    """An image with its marks.

    Attributes:
        name: Its name on the page and in what is saved.
        path: Its file, whose name is a number.
        preview: A JPEG of it.
        labels: (H, W) uint8, 0 where nothing is marked; replaced by each change, never written to.
        revision: Number of changes so far.
        prediction: The latest prediction.
        marked: Whether anything is marked.
    """

    name: str
    path: Path
    preview: bytes
    labels: np.ndarray
    revision: int = 0
    prediction: ImagePrediction | None = None
    marked: bool = False
    _before: deque[bytes] = field(default_factory=lambda: deque(maxlen=MOST_UNDO), repr=False)

    @property
    def numbers(self) -> list[int]:
        """The marked classes, ascending."""
        return [number for number in np.unique(self.labels).tolist() if number]

    def support(self, classes: Sequence[str]) -> Support:
        """Return the image as a support; the class of number n is `classes[n - 1]`."""
        names = {number: classes[number - 1] for number in self.numbers}
        return Support(self.name, read_upright(self.path)[0], self.labels, names)

    def mark(self, labels: np.ndarray) -> bool:
        """Replace the marks by a label map (H, W) uint8; returns whether it differs from them."""
        if np.array_equal(labels, self.labels):
            return False
        self._before.append(zlib.compress(self.labels.tobytes(), 1))
        self._replace(labels)
        return True

    def undo(self) -> bool:
        """Take the last change back; returns whether there was one."""
        if not self._before:
            return False
        before = np.frombuffer(zlib.decompress(self._before.pop()), dtype=np.uint8)
        self._replace(before.reshape(self.labels.shape))
        return True

    def current_prediction(self, version: int) -> ImagePrediction | None:
        """Return the prediction if it was made from the marks of number `version`."""
        return self.prediction if self.prediction and self.prediction.version == version else None

    def describe(self) -> dict[str, Any]:
        """Describe the image for the page; of a marked one, no prediction."""
        height, width = self.labels.shape
        prediction = None if self.marked else self.prediction
        return {
            "name": self.name,
            "width": width,
            "height": height,
            "revision": self.revision,
            "can_undo": bool(self._before),
            "marked": self.marked,
            "prediction": prediction.version if prediction and prediction.entry else None,
            "summary": prediction.summary if prediction else "",
        }

    def _replace(self, labels: np.ndarray) -> None:
        self.labels, self.marked = labels, bool(labels.any())
        self.revision += 1


def check_size(path: Path) -> None:
    """Read the start of an image's file. Raises DataError where it is no image, or has more than `MOST_PIXELS`."""
    height, width, _ = read_header(path)
    if height * width > MOST_PIXELS:
        raise DataError(
            f"photo {path} has {width} × {height} pixels, expected {MOST_PIXELS / 1e6:.0f} million at most; make it "
            "smaller"
        )


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a file name of letters, digits, "_", "-" and "." for an image, without folders, that no other has.

    Args:
        name: The name that the browser states.
        taken: Names of the other images.

    Raises:
        DataError: the name is not one of an image.
    """
    file_name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    stem, _, suffix = file_name.rpartition(".")
    suffix = f".{suffix.lower()}"
    if suffix not in SUFFIXES:
        raise DataError(f"{file_name!a} is no image by its name; expected one that ends with {', '.join(SUFFIXES)}")
    stem = re.sub(r"[^\w.-]+", "_", stem).strip("_.-")[:LONGEST_STEM] or "image"
    others, free, number = {other.casefold() for other in taken}, f"{stem}{suffix}", 1
    while free.casefold() in others:
        number += 1
        free = f"{stem}-{number}{suffix}"
    return free
