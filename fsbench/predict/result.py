"""The prediction for one image, and its files: a label PNG and an overlay.

Shapes: (H, W) the image, upright; (h, w) its preview.
"""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fsbench.base.files import replacing
from fsbench.data.label_maps import resize_labels
from fsbench.data.palettes import voc_colors
from fsbench.predict.instances import Instance, encode_mask
from fsbench.results.pictures.fonts import font
from fsbench.results.pictures.masks import paint_slots
from fsbench.results.pictures.palette import DARK_LINE, WAY_COLORS
from fsbench.results.pictures.sheet import Panel, write_sheet
from fsbench.results.pictures.steps import explain_captions

PREVIEW = 1600
"""Longest side of an overlay in pixels."""
STEP_TILE = (320, 320)
"""Width and height in pixels of the pictures of steps."""
STEPS_A_ROW = 3
LEGEND_LINE = 20
"""Height of a line of the legend in pixels."""


@cache
def palette() -> np.ndarray:
    """Return the colors (256, 3) uint8 of label PNGs and overlays: those of ways first, then VOC's, made light.

    None of them is a gray or one of VOC's own, which would stand for another number where such a PNG is a support.
    """
    colors = voc_colors() // 2 + np.array([127, 127, 126], np.uint8)
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
        score: The method's score of that, from 0 to 1.
        pixels: Number of pixels labeled as the class.
        tells: Whether such scores were seen to tell images with the class from images without it
            (`Predictor.measure_presence`); if not, nothing is said of its presence.
    """

    number: int
    name: str
    present: bool
    score: float
    pixels: int
    tells: bool = False

    def __str__(self) -> str:
        pixels = "1 pixel" if self.pixels == 1 else f"{self.pixels or 'no'} pixels"
        if not self.tells:
            return f"{self.name} {pixels}"
        if self.present:
            return f"{self.name} {self.score:.2f}"
        marked = f"; {pixels} {'is' if self.pixels == 1 else 'are'} labelled as it all the same" if self.pixels else ""
        return f"{self.name} not present ({self.score:.2f}{marked})"


@dataclass(frozen=True)
class Result:
    """The prediction for one image.

    Attributes:
        image_name: The image's name.
        label_map: (H, W) uint8, 0 background, 1..N the classes.
        classes: The N classes.
        preview: (h, w, 3) uint8, the image, at most `PREVIEW` pixels wide and high.
        instances: Single objects of the classes; none of methods that do not find any.
        steps: Pictures of how the prediction came about, where they were asked for.
    """

    image_name: str
    label_map: np.ndarray
    classes: tuple[ClassPresence, ...]
    preview: np.ndarray
    instances: tuple[Instance, ...] = ()
    steps: tuple[Panel, ...] = ()

    def __str__(self) -> str:
        return f"{self.image_name}: {', '.join(f'{each}{self._objects(each)}' for each in self.classes)}"

    def _objects(self, presence: ClassPresence) -> str:
        """Return the number of a class's objects in words, where it has several."""
        objects = sum(instance.number == presence.number for instance in self.instances)
        return f" ({objects} objects)" if objects > 1 else ""

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
        """Draw the classes over the preview with fills and outlines, single objects too, and their names below it.

        No score is drawn: beside a mask it would be taken for the mask's quality.
        """
        height, width = self.preview.shape[:2]
        figure = Image.new("RGB", (width, height + LEGEND_LINE * len(self.classes)), "white")
        painted = paint_slots(self.preview, self.label_map, palette()[1:])
        objects = self._object_masks() if len(self.instances) > 1 else []
        for instance, mask in objects:
            painted = paint_slots(painted, mask, palette()[instance.number : instance.number + 1], fill=0.0)
        figure.paste(Image.fromarray(painted))
        draw = ImageDraw.Draw(figure)
        for line, presence in enumerate(self.classes):
            top = height + LEGEND_LINE * line
            color = tuple(palette()[presence.number].tolist())
            draw.rectangle((4, top + 4, 15, top + 15), fill=color, outline=DARK_LINE)
            draw.text((21, top + 2), f"{presence.name}{self._objects(presence)}", fill=DARK_LINE, font=font(13))
        return figure

    def _object_masks(self) -> list[tuple[Instance, np.ndarray]]:
        """Return the objects with their masks (h, w) uint8 on the preview."""
        size = (self.label_map.shape[0], self.label_map.shape[1])
        masks = [instance.mask(size).astype(np.uint8) for instance in self.instances]
        return [
            (instance, resize_labels(mask, *self.preview.shape[:2]))
            for instance, mask in zip(self.instances, masks, strict=True)
        ]

    def save(self, out: str | Path) -> dict[str, Any]:
        """Write `labels/<image>.png`, `overlays/<image>.jpg` and, with steps, `steps/<image>.png` below `out`.

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
        if self.steps:
            sheet = steps_file(Path(out), self.image_name)
            sheet.parent.mkdir(parents=True, exist_ok=True)
            panels = [("prediction", np.asarray(self.overlay())), *self.steps]
            rows = [panels[start : start + STEPS_A_ROW] for start in range(0, len(panels), STEPS_A_ROW)]
            write_sheet(sheet, rows, STEP_TILE, explain_captions(panels))
        height, width = self.label_map.shape
        classes = [self._class_entry(presence) for presence in self.classes]
        entry = {"photo": self.image_name, "height": height, "width": width, "classes": classes}
        return entry | ({"instances": [asdict(instance) for instance in self.instances]} if self.instances else {})

    def _class_entry(self, presence: ClassPresence) -> dict[str, Any]:
        """Return a class's plain values, with its box and run lengths in COCO's form where it has pixels."""
        entry = asdict(presence)
        if presence.pixels:
            entry |= encode_mask(self.label_map == presence.number)
        return entry


def output_files(out: Path, image_name: str) -> tuple[Path, Path]:
    """Return the paths of an image's label PNG and overlay."""
    return out / "labels" / f"{image_name}.png", out / "overlays" / f"{image_name}.jpg"


def steps_file(out: Path, image_name: str) -> Path:
    """Return the path of an image's picture of steps."""
    return out / "steps" / f"{image_name}.png"
