"""SAM 3 on a shared canvas: supports and query in one image, boxes of the supports as examples (sam3-canvas.md).

Tsai, Lin, Wang, "Few-Shot Semantic Segmentation Meets SAM3", arXiv 2604.05433. Training-free: whatever of the concept
SAM 3 finds inside the query's part of the canvas is the prediction.

Shapes: D side of the canvas, K shots, Q detections, P prompts.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.ops import nms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.query_maps import Sketch, share_box, stacked_regions
from fsbench.data.batch import EpisodeBatch
from fsbench.data.connected import Box
from fsbench.data.label_maps import resize_labels_pil
from fsbench.data.resizing import resize_by_pil
from fsbench.methods.modules.sam3_segmenter import VISUAL, AskedText, Sam3Segmenter, largest_scores
from fsbench.networks.backbones.sam2_sam3 import Detections, Sam3NetConfig

log = logging.getLogger("fsbench")

Orient = Literal["vertical", "horizontal"]
Layout = Literal["l_shape", "vertical_strip", "horizontal_strip"]
Slot = tuple[int, int, int, int]
"""x, y, width and height of an image's part of the canvas, in pixels."""
KEPT, NEGATIVE, TOUCH, SUPPRESSED = 0.5, 0.1, 0.05, 0.5
"""Of negative prompts (§7): scores of a positive and of a negative one, and overlaps that drop one."""


def one_shot_slots(side: int, ratio: float, orient: Orient, swap: bool) -> list[Slot]:
    """Return the rectangles (x, y, width, height) of a support and of the query on a canvas, in pixels (§2).

    The support's part of the side is rounded down to pixels.

    Args:
        side: D, side of the canvas.
        ratio: share of the canvas that the support takes.
        orient: "vertical" puts support and query one above the other; otherwise they are side by side.
        swap: whether the query comes first, at the top or at the left.
    """
    first = int(side * ratio)
    rest = side - first
    lengths = [(rest, first), (0, rest)] if swap else [(0, first), (first, rest)]  # start and length
    if orient == "vertical":
        return [(0, start, side, length) for start, length in lengths]
    return [(start, 0, length, side) for start, length in lengths]


def many_shot_slots(side: int, shots: int, ratio: float, layout: Layout) -> list[Slot]:
    """Return the rectangles (x, y, width, height) of K supports, then of the query, on a canvas, in pixels (§2).

    Args:
        side: D, side of the canvas.
        shots: K, number of supports.
        ratio: share of the canvas that the supports' strip takes; it is rounded to pixels.
        layout: where the supports lie: "horizontal_strip" at the top, a vertical strip at the left, or "l_shape", which
            needs five supports; with other numbers it is a vertical strip.
    """
    strip = round(side * ratio)
    rest = side - strip
    if layout == "l_shape" and shots == 5:
        third, half = side // 3, rest // 2
        return [
            (0, 0, third, strip),
            (third, 0, third, strip),
            (2 * third, 0, side - 2 * third, strip),
            (0, strip, strip, half),
            (0, strip + half, strip, rest - half),
            (strip, strip, rest, rest),
        ]
    length = side // shots
    parts = [(i * length, length if i + 1 < shots else side - i * length) for i in range(shots)]
    if layout == "horizontal_strip":
        return [*((start, 0, width, strip) for start, width in parts), (0, strip, side, rest)]
    return [*((0, start, strip, height) for start, height in parts), (strip, 0, rest, side)]


def draw_canvas(images: Sequence[np.ndarray], slots: Sequence[Slot], side: int) -> np.ndarray:
    """Return a canvas (D, D, 3) uint8 with each image (H, W, 3) uint8 stretched to its rectangle, bilinear by PIL."""
    canvas = np.zeros((side, side, 3), np.uint8)
    for image, (x, y, width, height) in zip(images, slots, strict=True):
        canvas[y : y + height, x : x + width] = resize_by_pil(image, height, width)
    return canvas


def canvas_box(box: Sequence[float], size: tuple[int, int], slot: Slot, side: int) -> list[float]:
    """Return centre, width and height of a support's box as shares of the canvas.

    Args:
        box: x, y, width and height in pixels of the support.
        size: (H, W) of the support.
        slot: rectangle (x, y, width, height) of the support on the canvas.
        side: D, side of the canvas.
    """
    (x, y, width, height), (left, top, slot_width, slot_height) = box, slot
    across, down = slot_width / size[1], slot_height / size[0]
    return [
        (left + x * across + width * across / 2) / side,
        (top + y * down + height * down / 2) / side,
        width * across / side,
        height * down / side,
    ]


def score_map(found: Detections, side: int) -> np.ndarray:
    """Return the largest score of the detections that cover each canvas pixel, (D, D) float32; 0 where none does."""
    return largest_scores(iter(found.full_size(side)), found.scores, (side, side)).cpu().numpy()


def slot_detections(found: Detections, slot: Slot, side: int) -> tuple[Tensor, Tensor]:
    """Return masks (M, h, w) bool, cut to the query's rectangle `slot`, and scores (M,) of detections that reach it.

    `side` is the side of the canvas.
    """
    x, y, width, height = slot
    masks = found.full_size(side)[:, y : y + height, x : x + width]
    reaches = masks.flatten(1).any(1)
    return masks[reaches], found.scores[reaches]


def cut_query(values: np.ndarray, slot: Slot, size: tuple[int, int]) -> np.ndarray:
    """Cut the query's rectangle out of a map (D, D) of the canvas; resize it to `size` (H, W), nearest pixel by PIL."""
    x, y, width, height = slot
    return resize_labels_pil(np.ascontiguousarray(values[y : y + height, x : x + width]), *size)


def mined_prompts(boxes: Tensor, scores: Tensor, given: Sequence[float], most_negatives: int) -> tuple[Tensor, Tensor]:
    """Choose box prompts among the objects that SAM 3 detects in the support image alone (§7).

    Args:
        boxes: (n, 4), boxes of the detections, x0, y0, x1 and y1 in pixels of the support.
        scores: (n,), scores of the detections.
        given: x, y, width and height of the support's own box, which is the only positive prompt if nothing is found.
        most_negatives: largest number of negative prompts.

    Returns:
        Boxes (P, 4), x0, y0, x1 and y1, and labels (P,), 1 positive and 0 negative: first the positive boxes in their
        order, then the negative ones by descending score.
    """
    positive = boxes[scores > KEPT]
    is_negative = (scores > NEGATIVE) & (scores <= KEPT)
    negative, negative_scores = boxes[is_negative], scores[is_negative]
    if len(positive) and len(negative):
        low = torch.maximum(negative[:, None, :2], positive[None, :, :2])
        high = torch.minimum(negative[:, None, 2:], positive[None, :, 2:])
        common = (high - low).clamp(min=0).prod(-1)
        area = (negative[:, 2:] - negative[:, :2]).clamp(min=0).prod(-1)
        apart = (common / (area[:, None] + 1e-6)).amax(1) <= TOUCH
        negative, negative_scores = negative[apart], negative_scores[apart]
    sound = (negative[:, 2] > negative[:, 0]) & (negative[:, 3] > negative[:, 1]) & ~negative_scores.isnan()
    negative, negative_scores = negative[sound], negative_scores[sound]
    order = negative_scores.argsort(descending=True, stable=True)
    negative, negative_scores = negative[order], negative_scores[order]
    negative = negative[nms(negative, negative_scores, SUPPRESSED)][:most_negatives]
    if not len(positive):
        x, y, width, height = given
        positive = torch.tensor([[x, y, x + width, y + height]], dtype=boxes.dtype, device=boxes.device)
    labels = torch.tensor([1] * len(positive) + [0] * len(negative))
    return torch.cat([positive, negative]), labels


def mined_on_canvas(boxes: Tensor, size: tuple[int, int], side: int, ratio: float) -> Tensor:
    """Return a support's boxes (P, 4) as centre, width and height on a canvas with the support below (§7)."""
    share = int(side * ratio)
    rest = side - share
    x0, y0, x1, y1 = boxes.float().unbind(1)
    height, width = size
    down = share / side
    return torch.stack(
        [
            (x0 + x1) / 2 / width,
            (y0 + y1) / 2 / height * down + rest / side,
            (x1 - x0) / width,
            (y1 - y0) / height * down,
        ],
        1,
    )


@dataclass(frozen=True)
class Pasted:
    """Canvas that shows a way's supports and the query, with box prompts.

    Attributes:
        canvas: (D, D, 3) uint8.
        slot: rectangle (x, y, width, height) of the query.
        boxes: box prompts (P, 4) float32, centre, width and height as shares of the canvas.
        labels: (P,), 1 for boxes of positive examples and 0 for negative ones.
    """

    canvas: np.ndarray
    slot: Slot
    boxes: Tensor
    labels: Tensor


class Example(NamedTuple):
    """A support's photo with the box around its object.

    Attributes:
        photo: (H, W, 3) uint8.
        box: x, y, width and height in pixels of the photo; None if the support has no box.
        text: text prompt for the support's class.
    """

    photo: np.ndarray
    box: Box | None
    text: str

    @property
    def size(self) -> tuple[int, int]:
        return self.photo.shape[0], self.photo.shape[1]


class Found(NamedTuple):
    """SAM 3's detections of one way above the score threshold, with the canvas on which they were made."""

    pasted: Pasted
    detections: Detections


class SAM3Canvas(Sam3Segmenter):
    """Segmentation by SAM 3 on a canvas onto which a way's supports and the query are pasted; without training.

    There is one canvas for each way, and SAM 3 sees only canvases. Photos, boxes and class names are read from the
    episode, which holds them beside its square images.

    Args:
        backbone: SAM 3.
        text: "none" prompts with boxes alone; "class" adds the class's name as text, as the authors do.
        threshold: score that a detection must exceed.
        orient, swap: layout of the canvas with one support: "vertical" or "horizontal", and whether the query comes
            first.
        ratio: share of the canvas that one support takes.
        layout: layout of the canvas with several supports: "horizontal_strip", "vertical_strip" or "l_shape".
        ratio_of_several: share of the canvas that several supports take together.
        most_negatives: largest number of negative box prompts, taken from SAM 3's detections in the support alone; 0
            for none. Only with one support below the query.
    """

    authors_shots = AuthorsShots((1, 5), "the authors lay out no other canvas; here it has a strip of K supports")  # §2

    def __init__(
        self,
        backbone: Sam3NetConfig,
        text: AskedText = "none",
        threshold: float = 0.5,
        orient: Orient = "vertical",
        swap: bool = False,
        ratio: float = 0.6,
        layout: Layout = "l_shape",
        ratio_of_several: float = 0.3,
        most_negatives: int = 0,
    ):
        super().__init__(backbone, text, threshold)
        for name, value in {"ratio": ratio, "ratio_of_several": ratio_of_several}.items():
            if not (0 < value < 1 and 1 <= int(self.side * value) < self.side):
                raise SettingsError(f"{name} is {value:g}, expected a share of the canvas between 0 and 1")
        if most_negatives < 0 or (most_negatives and (orient != "vertical" or not swap)):
            raise SettingsError(
                f"most_negatives is {most_negatives} with orient {orient} and swap {swap}; expected 0, or more with "
                "orient vertical and swap true"
            )
        self.orient, self.swap, self.ratio = orient, swap, ratio
        self.layout, self.ratio_of_several = layout, ratio_of_several
        self.most_negatives = most_negatives

    @property
    def side(self) -> int:
        """Side D of the canvas in pixels, equal to that of SAM 3's input images."""
        return self.backbone.spec.side

    def check_shots(self, test: int, training: int | None) -> None:
        super().check_shots(test, training)
        if self.most_negatives and test > 1:
            raise SettingsError(f"most_negatives is {self.most_negatives} for {test} shots; expected 0, or one shot")
        if test > self.side // 2:
            raise SettingsError(f"{test} shots do not fit on a canvas of {self.side} pixels; lower --shot")

    def features(self, batch: EpisodeBatch, rows: Tensor, supports: bool = False) -> np.ndarray:
        """Return the query's photo (H, W, 3) uint8 in place of features; `rows` is the photo's index in the batch."""
        return _pixels(batch.photo(int(rows)))

    def supports(self, way: EpisodeBatch) -> Iterator[Example]:
        """Yield each support of a way as its photo, with box and text prompt."""
        text = self.text_of(way)
        for row, box in zip(way.support[0, 0].tolist(), self.boxes_of(way), strict=True):
            yield Example(_pixels(way.photo(row)), box, text)

    def join(self, supports: Iterator[Example]) -> list[Example]:
        return list(supports)

    def segment(self, query: np.ndarray, support: list[Example]) -> Found | None:
        """Paste query and supports on a canvas and return SAM 3's detections above the threshold.

        The result is None, a failed prediction, if no support has a box (§4) or the GPU runs out of memory (§5).
        """
        try:
            pasted = self.paste(query, support)
            if pasted is None:
                return None
            return Found(pasted, self.detect(pasted, support[0].text).kept(self.threshold))
        except torch.OutOfMemoryError as error:  # any other error is a fault, and no answer
            log.warning("episode %s failed: %s", self.context.episode, str(error).splitlines()[0])
            return None

    def detect(self, pasted: Pasted, text: str) -> Detections:
        """Return SAM 3's detections on a canvas, prompted by its boxes and a text."""
        concept = self.backbone.concept(text, pasted.boxes, pasted.labels)
        return self.backbone.detect(torch.from_numpy(pasted.canvas).permute(2, 0, 1), concept, self.device)

    def paste(self, query: np.ndarray, support: Sequence[Example]) -> Pasted | None:
        """Return the canvas of a query (H, W, 3) uint8 and supports, with box prompts; None if no support has a box."""
        slots = self.slots(len(support))
        canvas = draw_canvas([*(one.photo for one in support), query], slots, self.side)
        prompted = [(one, slot) for one, slot in zip(support, slots, strict=False) if one.box is not None]
        if not prompted:
            return None
        if self.most_negatives:
            ((only, _),) = prompted
            found, labels = self._mine(only)
            return Pasted(canvas, slots[-1], mined_on_canvas(found, only.size, self.side, self.ratio), labels)
        boxes = [canvas_box(one.box, one.size, slot, self.side) for one, slot in prompted if one.box is not None]
        prompts = torch.tensor(boxes, dtype=torch.float64).float()
        return Pasted(canvas, slots[-1], prompts, torch.ones(len(boxes), dtype=torch.int64))

    def query_scores(self, found: Found, size: tuple[int, int]) -> Tensor:
        """Return the largest score of the detections that cover each query pixel, (h, w) float32; 0 where none does."""
        return torch.tensor(cut_query(score_map(found.detections, self.side), found.pasted.slot, size))

    def maps(self, found: Found, size: tuple[int, int]) -> dict[str, Tensor | Sketch]:
        """Return a way's detections for display.

        Args:
            found: detections of the way, with the canvas.
            size: height and width of the score map.

        Returns:
            {"canvas": picture (D, D, 3) uint8 with its box prompts, "detections": sketch of masks and boxes over the
            query, "detection scores": map (h, w)}.
        """
        masks = slot_detections(found.detections, found.pasted.slot, self.side)[0].cpu().numpy()
        groups, boxes = np.arange(len(masks)) + 1, np.array([share_box(mask) for mask in masks]).reshape(-1, 4)
        return {
            "canvas": torch.from_numpy(_with_boxes(found.pasted)),
            "detections": Sketch(boxes=boxes, box_groups=groups, regions=stacked_regions(masks, groups)),
            "detection scores": self.query_scores(found, size),
        }

    def slots(self, shots: int) -> list[Slot]:
        """Return the rectangles (x, y, width, height) of `shots` supports, then of the query, on the canvas."""
        if shots == 1:
            return one_shot_slots(self.side, self.ratio, self.orient, self.swap)
        return many_shot_slots(self.side, shots, self.ratio_of_several, self.layout)

    def _mine(self, support: Example) -> tuple[Tensor, Tensor]:
        """Find prompts in a support alone, by its box and without a name."""
        assert support.box is not None
        (height, width), (x, y, w, h) = support.size, support.box
        square = torch.from_numpy(support.photo).permute(2, 0, 1)
        square = resize(square, [self.side, self.side], InterpolationMode.BILINEAR, antialias=True)
        given = torch.tensor([[(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]])
        found = self.backbone.detect(square, self.backbone.concept(VISUAL, given), self.device)
        scale = torch.tensor([width, height, width, height], device=found.boxes.device)
        return mined_prompts((found.boxes * scale).cpu(), found.scores.cpu(), support.box, self.most_negatives)

    def objects(self, found: Found, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each detection's mask (h, w) bool, at the size of the query on the canvas, and its score, a scalar."""
        return zip(*slot_detections(found.detections, found.pasted.slot, self.side), strict=True)


def _with_boxes(pasted: Pasted) -> np.ndarray:
    """Return a canvas with the outlines of its prompts, yellow of examples and blue of others, on a dark line."""
    drawn, side = Image.fromarray(pasted.canvas), len(pasted.canvas)
    pencil, width = ImageDraw.Draw(drawn), max(1, side // 250)
    for (x, y, across, down), label in zip((pasted.boxes * side).tolist(), pasted.labels.tolist(), strict=True):
        left, top, right, bottom = x - across / 2, y - down / 2, x + across / 2, y + down / 2
        outer = (left - width, top - width, right + width, bottom + width)
        pencil.rectangle(outer, outline=(0, 0, 0), width=3 * width)
        pencil.rectangle((left, top, right, bottom), outline=(255, 210, 0) if label else (60, 120, 255), width=width)
    return np.array(drawn)


def _pixels(image: Tensor) -> np.ndarray:
    """Return an image (3, H, W) as (H, W, 3) uint8; those that OpenCV resized are no integers."""
    return np.asarray(image.round().byte().permute(1, 2, 0).cpu().numpy())
