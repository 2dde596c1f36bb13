"""SegGPT (ICCV 2023): a frozen painter that colours the query's mask by the example of the supports' (seggpt.md).

Each support is shown to the network as its image beside its mask, painted in a colour; what the network paints beside
the query is read as a mask. K supports are joined in its blocks.

Shapes: N ways, K shots, S image side, (h, w) the size of the predicted label map.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Output
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Way
from fsbench.data.annotations import KnownOrNot
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, normalise
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.seggpt import Embedding, EnsembleVariant, FrozenSegGPT
from fsbench.networks.ops.first_largest import first_largest

SEEN = (
    "coco", "coco_all", "pascal", "pascal10i", "pascal_all", "lvis", "paco_part", "pascal_part",
    "isaid", "isaid512", "isaid512_stride",
)  # fmt: skip
"""Data sets whose images and classes are among those that SegGPT was trained on (§7)."""
UNSEEN = ("fss1000", "demo")
"""Data sets that are not: the paper counts FSS-1000 as out of its domain, and the demo is drawn here."""
WHITE = (255, 255, 255)
"""Colour of the class in the examples' masks, where there is one (§2)."""


def colours(painted: Tensor) -> Tensor:
    """Convert SegGPT's output (3, ...), an image in ImageNet normalisation, to colours from 0 to 255 (§3)."""
    mean, std = (painted.new_tensor(v).view(3, *[1] * (painted.ndim - 1)) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return ((painted * std + mean) * 255).clamp(0, 255)


def at_size(painted: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize colours (3, S, S) to (3, h, w) by nearest neighbour (§5, step 1)."""
    return F.interpolate(painted[None], size, mode="nearest")[0]


def palette(classes: int) -> Tensor:
    """Return distinct colours for the background (black) and each class, (1 + classes, 3) int64 of 0..255 (§5)."""
    base = int(classes ** (1 / 3)) + 1
    margin = 256 // base
    rows = [(0, 0, 0)]
    for label in range(classes):
        digits = label // base**2, label % base**2 // base, label % base
        red, green, blue = (255 - digit * margin for digit in digits)
        rows.append((red, green, blue))
    return torch.tensor(rows)


def nearest_colour(painted: Tensor, table: Tensor) -> Tensor:
    """Return for each pixel the index (h, w) int64 of the nearest colour in `table`, the first on ties (§5).

    Args:
        painted: colours (3, h, w) from 0 to 255.
        table: colours (C, 3).
    """
    distances = torch.stack([(painted - colour[:, None, None]).square().sum(0) for colour in table.to(painted)])
    return first_largest(-distances)


def paint_mask(mask: Tensor, colour: tuple[int, ...]) -> Tensor:
    """Paint masks (..., S, S) bool in a colour on black: images (..., 3, S, S) uint8."""
    return mask[..., None, :, :] * mask.new_tensor(colour, dtype=torch.uint8)[:, None, None]


class Example(NamedTuple):
    """A support (example) for SegGPT: its pixels (1, 3, S, S), and its mask (1, S, S)."""

    image: Tensor
    mask: Tensor


class SegGPT(Segmenter):
    """Segmentation by SegGPT, which paints the query's mask like the masks of its examples (supports).

    Args:
        backbone: the frozen SegGPT.
        embedding: type token of all patches, `instance` or `semantic` (§3); `instance` is the default of the authors'
            program.
        threshold: mean of a pixel's three colour values, from 0 to 255, above which it is foreground (§5, step 2).
        ways: `per_class` paints each class by itself, white on black, and a pixel goes to the class with the brightest
            value; `palette` paints all classes together, each in a colour of its own, and a pixel goes to the class
            with the nearest colour.
        ensemble_variant: how K > 1 examples are averaged at the block where the streams of images and of masks meet:
            `authors` in each stream, `transformers` over both (§4).
    """

    backbone: FrozenSegGPT
    backbone_type = FrozenSegGPT
    learns = False
    predicts_presence = True
    sees_pixels = True

    def __init__(
        self,
        backbone: BackboneConfig,
        embedding: Embedding = "instance",
        threshold: float = 128.0,
        ways: Literal["per_class", "palette"] = "per_class",
        ensemble_variant: EnsembleVariant = "authors",
    ):
        super().__init__(backbone)
        if not 0 <= threshold < 255:
            raise SettingsError(
                f"threshold is {threshold:g}, expected a mean of colours from 0 to below 255; set --model.threshold"
            )
        self.embedding, self.threshold, self.ways = embedding, threshold, ways
        self.ensemble_variant = ensemble_variant

    @property
    def saw_test_classes(self) -> KnownOrNot:
        return "no" if self.backbone.weights_id.startswith("random ") else "yes"

    def saw_classes_of(self, dataset: str) -> KnownOrNot:
        """Return whether SegGPT was trained with labels of this data set's test classes: yes, no or unknown.

        FSS-1000 was not among its training data (§7); for a user's own data the answer is "unknown".
        """
        saw = self.saw_test_classes
        return saw if saw == "no" or dataset in SEEN else "no" if dataset in UNSEEN else "unknown"

    def record_notes(self, data: Any) -> list[str]:
        return ["episodes assumed: the authors released no evaluation of SegGPT (seggpt.md §7)"]

    @property
    def competes(self) -> bool:  # type: ignore[override]
        return self.ways == "palette"

    def support(self, image: Tensor, mask: Tensor) -> Example:
        return Example(image, mask)

    def join(self, supports: Iterator[Any]) -> list[Any]:
        """Return the supports of a way as a list; with `ways="palette"` a list of such lists, one for each way."""
        return [list(of_way) for of_way in supports] if self.competes else list(supports)

    def segment(self, query: Tensor, support: list[Any]) -> Any:
        """Return the image (3, S, S), 0 to 255, that SegGPT paints as the query's mask.

        The image shows the mask of one way in white on black or, with `ways="palette"`, the masks of all ways in their
        colours.
        """
        if not self.competes:
            return self._colours(query, [(one, WHITE) for one in support])
        own = palette(len(support)).tolist()[1:] if len(support) > 1 else [WHITE]
        examples = [(one, tuple(colour)) for shots, colour in zip(support, own, strict=True) for one in shots]
        return len(support), self._colours(query, examples)

    def read(self, outputs: Iterator[Any], size: tuple[int, int], attention: list[Tensor] | None = None) -> Way:
        """Return a way's mask at `size` (h, w): the pixels whose mean colour is above the threshold (§5, step 2)."""
        (painted,) = outputs
        grey = at_size(painted.logits if isinstance(painted, Output) else painted, size).mean(0)
        inside, score = grey > self.threshold, grey / 255
        kept = score if self.keeps_soft_masks else None
        return Way(grey, inside, probability=kept, present=inside.any(), presence_score=score.amax())

    def compete(self, output: Any, size: tuple[int, int]) -> Prediction:
        """Assign each pixel, at `size` (h, w), to the way whose palette colour is nearest to the painted colour."""
        count, painted = output
        if count == 1:
            return self.predict([self.read(iter([painted]), size)], [])
        label_map = nearest_colour(at_size(painted, size), palette(count))
        share = torch.stack([(label_map == way + 1).float().mean() for way in range(count)])
        return Prediction(label_map, share > 0, share)

    def _colours(self, query: Tensor, examples: Sequence[tuple[Example, tuple[int, ...]]]) -> Tensor:
        """Return the query's mask (3, S, S) as painted by examples, each with the colour of its mask, 0 to 255."""
        images = torch.cat([example.image for example, _ in examples])
        masks = normalise(torch.cat([paint_mask(example.mask, colour) for example, colour in examples]))
        return colours(self.backbone.paint(query[0], images, masks, self.embedding, self.ensemble_variant))
