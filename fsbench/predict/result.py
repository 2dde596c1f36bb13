"""The prediction for one image, and its files: a label PNG, an overlay, pictures of steps.

Shapes: (H, W) the image, upright; (h, w) its preview.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from pydantic import BaseModel, Field

from fsbench.base.files import replacing
from fsbench.core.prediction import Instances
from fsbench.data.label_maps import resize_labels
from fsbench.data.palettes import voc_colors
from fsbench.data.rle import decode_rle
from fsbench.data.warping import resize_by_opencv
from fsbench.results.pictures.fonts import font
from fsbench.results.pictures.masks import paint_slots
from fsbench.results.pictures.palette import DARK_LINE, WAY_COLORS
from fsbench.results.pictures.sheet import Panel, write_sheet
from fsbench.results.pictures.steps import explain_captions

STEP_TILE = (320, 320)
"""Width and height in pixels of the pictures of steps."""
STEPS_A_ROW = 3
LEGEND_LINE = 20
"""Height of a line of the legend in pixels."""


@cache
def palette() -> np.ndarray:
    """Return the colors (256, 3) uint8 of label PNGs and overlays: those of classes 1 to N, then lightened VOC colors.

    No color is a gray or one of VOC's own, which would be read as another class number if such a PNG is used as a
    support.
    """
    colors = voc_colors() // 2 + np.array([127, 127, 126], np.uint8)
    colors[0] = 0
    colors[1 : 1 + len(WAY_COLORS)] = WAY_COLORS
    return colors


def decimal(value: float) -> str:
    """Write a number from 0 to 1 with two digits, or four if close to 0 or 1.

    >>> decimal(0.931), decimal(0.99876), decimal(1.0)
    ('.93', '.9988', '1.00')
    """
    near = 0 < value < 0.01 or 0.99 < value < 1
    return f"{value:.{4 if near else 2}f}".removeprefix("0")


@dataclass(frozen=True)
class RunLengths:
    """Non-empty mask in COCO's compressed run-length encoding.

    Attributes:
        bbox: x, y, width and height of the mask's bounding box, in pixels.
        counts: run lengths of the mask's pixels, as COCO's compressed text.
    """

    bbox: list[float]
    counts: str

    @classmethod
    def encode(cls, mask: np.ndarray) -> "RunLengths":
        """Encode a mask (H, W) bool."""
        runs = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
        return cls(coco.toBbox(runs).tolist(), runs["counts"].decode("ascii"))


@dataclass(frozen=True)
class Instance:
    """A single predicted object of a class, at the image's size.

    Attributes:
        number: Number of the object's class in the label map.
        score: How sure the method is of the object, from 0 to 1.
        pixels: Number of the object's pixels; objects of one class may overlap.
        runs: The object's mask, run-length encoded.
    """

    number: int
    score: float
    pixels: int
    runs: RunLengths

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """Return the object's mask (H, W) bool in an image of `size` (height, width)."""
        return decode_rle({"size": list(size), "counts": self.runs.counts}, *size)


@dataclass(frozen=True)
class ClassPresence:
    """Prediction about one class in an image: present or not, with its score.

    Attributes:
        number: The class's number in the label map.
        name: The class's name.
        present: Whether the method decides that the image shows the class.
        score: How sure the method is that the image shows the class, from 0 to 1.
        pixels: Number of pixels labelled as the class.
        tells: Whether presence scores were found to separate images with and without the class
            (`Predictor.leave_one_out`); if not, do not rely on `present`.
        runs: The run-length encoded mask, set only in saved results (`Entry`); None if no pixel is labelled.
    """

    number: int
    name: str
    present: bool
    score: float
    pixels: int
    tells: bool = False
    runs: RunLengths | None = None

    def __str__(self) -> str:
        pixels = "1 pixel" if self.pixels == 1 else f"{self.pixels or 'no'} pixels"
        if not self.tells:
            return f"{self.name} {pixels}"
        if self.present:
            return f"{self.name} {decimal(self.score)}"
        marked = f"; but {pixels} {'is' if self.pixels == 1 else 'are'} labelled as it" if self.pixels else ""
        return f"{self.name} not present ({decimal(self.score)}{marked})"


class Entry(BaseModel):
    """Results of one image as plain values, stored in `journal.jsonl`, from which the other result files are written.

    Attributes:
        photo: Path of the image below the query folder.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        classes: Prediction about each class of the supports.
        instances: Single objects of the classes; empty if the method does not separate objects.
        labelled: Whether these are the user's own labels, not a prediction.
        stamp: Size, modification time, status-change time and inode of the image's file when it was segmented; other
            numbers mean that the file has changed since.
    """

    photo: str
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    classes: list[ClassPresence]
    instances: list[Instance] = []
    labelled: bool = False
    stamp: list[int] = []


@dataclass(frozen=True)
class ImageResult:
    """The prediction for one image.

    Attributes:
        image_name: Path of the image below the query folder; "photo" for an image given as an array.
        label_map: (H, W) uint8, 0 background, 1..N the classes; the user's own labels may have 255, void.
        classes: Prediction about each of the N classes.
        preview: (h, w, 3) uint8, the image, made smaller if it is large.
        instances: Single objects of the classes; empty for methods that do not separate objects.
        steps: Pictures of the method's intermediate steps; empty unless the prediction was made with `steps=True`.
        labelled: Whether these are the user's own labels, not a prediction.
    """

    image_name: str
    label_map: np.ndarray
    classes: tuple[ClassPresence, ...]
    preview: np.ndarray
    instances: tuple[Instance, ...] = ()
    steps: tuple[Panel, ...] = ()
    labelled: bool = False

    def __str__(self) -> str:
        own = " (your own mask)" if self.labelled else ""
        return f"{self.image_name}: {', '.join(f'{each}{self._objects(each)}' for each in self.classes)}{own}"

    def renumbered(self, numbers: Mapping[str, int]) -> "ImageResult":
        """Return the result with the classes numbered by `numbers`, {class name: number}."""
        place = {each.number: numbers[each.name] for each in self.classes}
        table = np.array([place.get(number, number) for number in range(256)], np.uint8)
        return replace(
            self,
            label_map=table[self.label_map],
            classes=tuple(sorted((replace(each, number=place[each.number]) for each in self.classes), key=_number)),
            instances=tuple(sorted((replace(one, number=place[one.number]) for one in self.instances), key=_number)),
        )

    def _objects(self, presence: ClassPresence) -> str:
        """Return the number of a class's objects in words, where it has several."""
        objects = sum(instance.number == presence.number for instance in self.instances)
        return f" ({objects} objects)" if objects > 1 else ""

    def mask(self, name: str) -> np.ndarray:
        """Return the mask (H, W) bool of the class `name`."""
        (number,) = (presence.number for presence in self.classes if presence.name == name)
        return np.asarray(self.label_map == number)

    def labels(self) -> Image.Image:
        """Return the label map as an image in palette mode (0 background, n the n-th class)."""
        image = Image.fromarray(self.label_map, "P")
        image.putpalette(palette().tobytes())
        return image

    def overlay(self) -> Image.Image:
        """Return the image with classes and single objects drawn over it, and their names below.

        No presence score is drawn: beside a mask it would be taken for the mask's quality.
        """
        height, width = self.preview.shape[:2]
        figure = Image.new("RGB", (width, height + LEGEND_LINE * len(self.classes)), "white")
        painted = paint_slots(self.preview, self.label_map, palette()[1:])
        for instance in self.instances if len(self.instances) > 1 else ():
            mask = instance.mask((self.label_map.shape[0], self.label_map.shape[1])).astype(np.uint8)
            color = palette()[instance.number : instance.number + 1]
            painted = paint_slots(painted, resize_labels(mask, height, width), color, fill=0.0)
        figure.paste(Image.fromarray(painted))
        draw = ImageDraw.Draw(figure)
        for line, presence in enumerate(self.classes):
            top = height + LEGEND_LINE * line
            fill = tuple(palette()[presence.number].tolist())
            draw.rectangle((4, top + 4, 15, top + 15), fill=fill, outline=DARK_LINE)
            draw.text((21, top + 2), f"{presence.name}{self._objects(presence)}", fill=DARK_LINE, font=font(13))
        return figure

    def save(self, out: str | Path) -> Entry:
        """Write label map, overlay and, if there are pictures of steps, these as image files below the folder `out`.

        The files are `labels/<image>.png`, `overlays/<image>.jpg` and `steps/<image>.png`. `<image>` includes the image
        file's own suffix, so that a.jpg and a.png do not collide. Returns the results as plain values for the journal.
        """
        labels, overlay, sheet = output_files(Path(out), self.image_name)
        for path in (labels, overlay, sheet) if self.steps else (labels, overlay):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(labels) as temporary:
            self.labels().save(temporary, "PNG", compress_level=1)
        drawn = self.overlay()
        with replacing(overlay) as temporary:
            drawn.save(temporary, "JPEG", quality=88)
        if self.steps:
            panels = [("prediction", np.asarray(drawn)), *self.steps]
            rows = [panels[start : start + STEPS_A_ROW] for start in range(0, len(panels), STEPS_A_ROW)]
            write_sheet(sheet, rows, STEP_TILE, explain_captions(panels))
        height, width = self.label_map.shape
        classes = [
            replace(each, runs=RunLengths.encode(self.label_map == each.number)) if each.pixels else each
            for each in self.classes
        ]
        return Entry(
            photo=self.image_name, height=height, width=width, classes=classes, instances=list(self.instances),
            labelled=self.labelled,
        )  # fmt: skip


def _number(one: ClassPresence | Instance) -> int:
    return one.number


def output_files(out: Path, image_name: str) -> tuple[Path, Path, Path]:
    """Return the paths of an image's label PNG, overlay, and picture of the method's steps below `out`."""
    return (
        out / "labels" / f"{image_name}.png",
        out / "overlays" / f"{image_name}.jpg",
        out / "steps" / f"{image_name}.png",
    )


def image_instances(instances: Instances, own: np.ndarray, label_map: np.ndarray) -> tuple[Instance, ...]:
    """Resize predicted objects to the image, sorted by class and descending score; drop those without pixels.

    An object keeps only pixels that have its class in the label map.

    Args:
        instances: The predicted objects: masks, class numbers and scores.
        own: (h, w) uint8, the prediction's label map at the size at which it was computed.
        label_map: (H, W) uint8, the label map at the image's size, in which absent classes may have been removed.
    """
    found = []
    for mask, way, score in zip(instances.masks, instances.ways.tolist(), instances.scores.tolist(), strict=True):
        inside = _resized(mask.cpu().numpy(), own.shape) & (own == way)
        inside = (resize_labels(inside.astype(np.uint8), *label_map.shape) > 0) & (label_map == way)
        if pixels := int(np.count_nonzero(inside)):
            found.append(Instance(way, float(score), pixels, RunLengths.encode(inside)))
    return tuple(sorted(found, key=lambda one: (one.number, -one.score)))


def _resized(mask: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize a mask to (h, w) so that no pixel is lost, whichever way label maps were resized: bilinear or nearest."""
    height, width = size
    if mask.shape == (height, width):
        return mask
    shares = resize_by_opencv(mask.astype(np.float32), height, width)
    nearest = resize_labels(mask.astype(np.uint8), height, width)
    return np.asarray((shares > 0) | (nearest > 0))
