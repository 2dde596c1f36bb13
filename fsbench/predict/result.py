"""What a method says about a photo, and the pictures of it.

Shapes: (H, W) the photo, upright; (h, w) its preview.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fsbench.colours import voc_colours
from fsbench.files import replacing
from fsbench.pictures import COLOURS
from fsbench.preprocess import resize_labels

PREVIEW = 1600
"""The longest side of an overlay."""
LINE = 20  # pixels of a line of the legend


@cache
def palette() -> np.ndarray:
    """Colours (256, 3) uint8 of label PNGs and overlays: bright ones first, then those of VOC."""
    colours = voc_colours().copy()
    colours[1 : 1 + len(COLOURS)] = COLOURS
    return colours


@cache
def _font() -> Any:
    return ImageFont.load_default(13)


@dataclass(frozen=True)
class Found:
    """What is said about one class: its number in the label map, whether it is there, how sure the method is of that
    (0 to 1), and the number of pixels that are labelled as it."""

    number: int
    name: str
    present: bool
    score: float
    pixels: int

    def __str__(self) -> str:
        if self.present:
            return f"{self.name} {self.score:.2f}"
        marked = f"; {self.pixels} pixels are labelled as it all the same" if self.pixels else ""
        return f"{self.name} not present ({self.score:.2f}{marked})"


@dataclass(frozen=True)
class Result:
    """The prediction for one photo.

    Attributes:
        photo: its name.
        label_map: (H, W) uint8, 0 background, 1..N the classes.
        found: the N classes.
        preview: (h, w, 3) uint8, the photo, at most `PREVIEW` pixels wide and high.
    """

    photo: str
    label_map: np.ndarray
    found: tuple[Found, ...]
    preview: np.ndarray

    def __str__(self) -> str:
        return f"{self.photo}: {', '.join(map(str, self.found))}"

    def mask(self, name: str) -> np.ndarray:
        """(H, W) bool of the class `name`."""
        (number,) = (found.number for found in self.found if found.name == name)
        return np.asarray(self.label_map == number)

    def labels(self) -> Image.Image:
        """The label map as a palette picture."""
        picture = Image.fromarray(self.label_map, "P")
        picture.putpalette(palette().tobytes())
        return picture

    def overlay(self) -> Image.Image:
        """The preview under its classes with their outlines, and below it what is said of each."""
        import cv2  # five times as fast here as indexing, and other threads go on meanwhile

        height, width = self.preview.shape[:2]
        labels = resize_labels(self.label_map, height, width)
        colours = np.asarray(cv2.LUT(cv2.merge([labels] * 3), palette()[None]), dtype=np.uint8)
        shown = cv2.copyTo((self.preview >> 1) + (colours >> 1), labels, self.preview.copy())
        shown = cv2.copyTo(colours, _outline(labels), shown)
        sheet = Image.new("RGB", (width, height + LINE * len(self.found)), "white")
        sheet.paste(Image.fromarray(shown))
        draw = ImageDraw.Draw(sheet)
        for line, found in enumerate(self.found):
            top = height + LINE * line
            draw.rectangle((4, top + 4, 15, top + 15), fill=tuple(palette()[found.number].tolist()))
            draw.text((21, top + 2), str(found), fill="black", font=_font())
        return sheet

    def save(self, out: str | Path) -> dict[str, Any]:
        """Write `labels/<photo>.png` and `overlays/<photo>.jpg` below `out`; what is said, as plain values.

        The photo's own suffix stays in these names, so that a.jpg and a.png do not meet.
        """
        labels, overlay = output_files(Path(out), self.photo)
        for path in (labels, overlay):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(labels) as temporary:
            self.labels().save(temporary, "PNG", compress_level=1)
        with replacing(overlay) as temporary:
            self.overlay().save(temporary, "JPEG", quality=88)
        height, width = self.label_map.shape
        return {"photo": self.photo, "height": height, "width": width, "classes": [self._said(f) for f in self.found]}

    def _said(self, found: Found) -> dict[str, Any]:
        said: dict[str, Any] = dict(vars(found))
        if found.pixels:
            from pycocotools import mask

            rle = mask.encode(np.asfortranarray(self.label_map == found.number))
            box = mask.toBbox(rle).tolist()
            said |= {"bbox": box, "counts": rle["counts"].decode("ascii")}
        return said


def output_files(out: Path, photo: str) -> tuple[Path, Path]:
    """The label PNG and the overlay of a photo."""
    return out / "labels" / f"{photo}.png", out / "overlays" / f"{photo}.jpg"


def _outline(labels: np.ndarray) -> np.ndarray:
    """(h, w) uint8: 1 for labelled pixels of which another label is at most two pixels away."""
    import cv2

    around = np.ones((5, 5), dtype=np.uint8)
    uniform = cv2.erode(labels, around) == cv2.dilate(labels, around)
    return np.asarray(~uniform & (labels > 0)).astype(np.uint8)
