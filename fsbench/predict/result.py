"""The prediction for one image, and its files: a label PNG and an overlay.

Shapes: (H, W) the image, upright; (h, w) its preview.
"""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fsbench.data.image_io import voc_colors
from fsbench.files import replacing
from fsbench.visualization.fonts import font
from fsbench.visualization.masks import paint_slots
from fsbench.visualization.palette import DARK_LINE, WAY_COLORS

PREVIEW = 1600
"""Longest side of an overlay in pixels."""
LEGEND_LINE = 20
"""Height of a line of the legend in pixels."""


@cache
def palette() -> np.ndarray:
    """Return the colors (256, 3) uint8 of label PNGs and overlays: those of ways first, then VOC's, made light."""
    colors = voc_colors() // 2 + np.uint8(128)
    colors[0] = 0
    colors[1 : 1 + len(WAY_COLORS)] = WAY_COLORS
    return colors


@dataclass(frozen=True)
class ClassPresence:
    """The prediction about one class.

    Attributes:
        number: Its number in the label map.
        name: Its name.
        present: Whether the method decides that the image shows it.
        score: Confidence that it does, from 0 to 1.
        pixels: Number of pixels labeled as the class.
    """

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
    """The prediction for one image.

    Attributes:
        image_name: The image's name.
        label_map: (H, W) uint8, 0 background, 1..N the classes.
        classes: The N classes.
        preview: (h, w, 3) uint8, the image, at most `PREVIEW` pixels wide and high.
    """

    image_name: str
    label_map: np.ndarray
    classes: tuple[ClassPresence, ...]
    preview: np.ndarray

    def __str__(self) -> str:
        return f"{self.image_name}: {', '.join(map(str, self.classes))}"

    def mask(self, name: str) -> np.ndarray:
        """Return the mask (H, W) bool of the class `name`."""
        (number,) = (presence.number for presence in self.classes if presence.name == name)
        return np.asarray(self.label_map == number)

    def labels(self) -> Image.Image:
        """Return the label map as a palette image."""
        image = Image.fromarray(self.label_map, "P")
        image.putpalette(palette().tobytes())
        return image

    def overlay(self) -> Image.Image:
        """Draw the classes with fills and outlines over the preview, and a legend below it."""
        height, width = self.preview.shape[:2]
        figure = Image.new("RGB", (width, height + LEGEND_LINE * len(self.classes)), "white")
        figure.paste(Image.fromarray(paint_slots(self.preview, self.label_map, palette()[1:])))
        draw = ImageDraw.Draw(figure)
        for line, presence in enumerate(self.classes):
            top = height + LEGEND_LINE * line
            color = tuple(palette()[presence.number].tolist())
            draw.rectangle((4, top + 4, 15, top + 15), fill=color, outline=DARK_LINE)
            draw.text((21, top + 2), str(presence), fill=DARK_LINE, font=font(13))
        return figure

    def save(self, out: str | Path) -> dict[str, Any]:
        """Write `labels/<image>.png` and `overlays/<image>.jpg` below `out`.

        The image's own suffix stays in these names, so that a.jpg and a.png do not collide.

        Returns:
            The prediction as plain values, for the journal.
        """
        labels, overlay = output_files(Path(out), self.image_name)
        for path in (labels, overlay):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(labels) as temporary:
            self.labels().save(temporary, "PNG", compress_level=1)
        with replacing(overlay) as temporary:
            self.overlay().save(temporary, "JPEG", quality=88)
        height, width = self.label_map.shape
        classes = [self._class_entry(presence) for presence in self.classes]
        return {"photo": self.image_name, "height": height, "width": width, "classes": classes}

    def _class_entry(self, presence: ClassPresence) -> dict[str, Any]:
        """Return a class's plain values, with its box and run lengths in COCO's form where it has pixels."""
        entry = asdict(presence)
        if presence.pixels:
            from pycocotools import mask  # not needed to predict

            run_lengths = mask.encode(np.asfortranarray(self.label_map == presence.number))
            entry |= {"bbox": mask.toBbox(run_lengths).tolist(), "counts": run_lengths["counts"].decode("ascii")}
        return entry


def output_files(out: Path, image_name: str) -> tuple[Path, Path]:
    """Return the paths of an image's label PNG and overlay."""
    return out / "labels" / f"{image_name}.png", out / "overlays" / f"{image_name}.jpg"
