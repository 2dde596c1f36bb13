"""SegGPT (ICCV 2023): a frozen painter that colours the query's mask by the example of the supports' (seggpt.md).

Each support is shown to the network as its image beside its mask, painted in a colour; what the network paints beside
the query is read as a mask. K supports are joined in its blocks.

Shapes: N ways, K shots, S image side, (h, w) the size of the predicted label map.
"""

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, EpisodeBatch, normalise
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.seggpt import Embedding, EnsembleVariant, FrozenSegGPT
from fsbench.networks.ops.first_largest import first_largest
from fsbench.records.run import KnownOrNot

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
    """Turn what the network painted, normalised (3, ...), into colours from 0 to 255 (§3)."""
    mean, std = (painted.new_tensor(v).view(3, *[1] * (painted.ndim - 1)) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return ((painted * std + mean) * 255).clamp(0, 255)


def at_size(painted: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize colours (3, S, S) to (3, h, w), each pixel that of the nearest one (§5, step 1)."""
    return F.interpolate(painted[None], size, mode="nearest")[0]


def palette(classes: int) -> Tensor:
    """Return a colour for the background and for each class, (1 + classes, 3) int64 from 0 to 255 (§5, step 4)."""
    base = int(classes ** (1 / 3)) + 1
    margin = 256 // base
    rows = [(0, 0, 0)]
    for label in range(classes):
        digits = label // base**2, label % base**2 // base, label % base
        red, green, blue = (255 - digit * margin for digit in digits)
        rows.append((red, green, blue))
    return torch.tensor(rows)


def nearest_colour(painted: Tensor, table: Tensor) -> Tensor:
    """Return the row of `table` that is nearest to each colour, the first of equal ones (§5, step 4).

    Args:
        painted: (3, h, w) from 0 to 255.
        table: (C, 3).

    Returns:
        (h, w) int64.
    """
    distances = torch.stack([(painted - colour[:, None, None]).square().sum(0) for colour in table.to(painted)])
    return first_largest(-distances)


def paint_mask(mask: Tensor, colour: tuple[int, ...]) -> Tensor:
    """Return masks (..., S, S) bool in a colour on black, (..., 3, S, S) uint8."""
    return mask[..., None, :, :] * mask.new_tensor(colour, dtype=torch.uint8)[:, None, None]


class SegGPT(Segmenter):
    """Segment by what SegGPT paints beside the query.

    Args:
        backbone: the frozen SegGPT.
        embedding: type token of all patches (§3); the authors' program has `instance` unless it is told otherwise.
        threshold: mean of the three colours, from 0 to 255, above which a pixel is foreground (§5, step 2).
        ways: `per_class` paints each class by itself, white on black, and a pixel goes to the brightest; `palette`
            shows all examples at once, each class in a colour of its own, and a pixel goes to the nearest colour.
        ensemble_variant: how K > 1 examples are joined at the block where the streams of images and of masks meet:
            `authors`, in each stream, or `transformers`, over both (§4).
    """

    backbone: FrozenSegGPT
    backbone_type = FrozenSegGPT
    learns = False
    sees_all_shots = True

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
        """Say what is known of the training's data (§7): FSS-1000 was not among them, and of one's own no one knows."""
        saw = self.saw_test_classes
        return saw if saw == "no" or dataset in SEEN else "no" if dataset in UNSEEN else "unknown"

    def record_notes(self, data: Any) -> list[str]:
        return ["episodes assumed: the authors released no evaluation of SegGPT (seggpt.md §7)"]

    def forward(self, episode: EpisodeBatch) -> Prediction:
        height, width = episode.query_sizes[0].tolist()
        if self.ways == "palette" and episode.support.shape[1] > 1:
            return self._by_palette(episode, (height, width))
        masks = paint_mask(episode.support_masks[0], WHITE)
        grey = torch.stack(
            [
                at_size(self._colours(episode, rows, painted), (height, width)).mean(0)
                for rows, painted in zip(episode.support[0], masks, strict=True)
            ]
        )
        inside = grey > self.threshold
        label_map = torch.where(inside.any(0), first_largest(grey) + 1, 0)
        score = grey / 255
        return Prediction(
            label_map,
            inside.flatten(1).any(1),
            score.flatten(1).amax(1),
            probability=score if self.keeps_soft_masks else None,
        )

    def _by_palette(self, episode: EpisodeBatch, size: tuple[int, int]) -> Prediction:
        """Predict all ways in one pass, each in a colour of its own."""
        count = episode.support.shape[1]
        table = palette(count)
        painted = [
            paint_mask(masks, tuple(table[way + 1].tolist())) for way, masks in enumerate(episode.support_masks[0])
        ]
        found = at_size(self._colours(episode, episode.support[0].flatten(), torch.cat(painted)), size)
        label_map = nearest_colour(found, table)
        share = torch.stack([(label_map == way + 1).float().mean() for way in range(count)])
        return Prediction(label_map, share > 0, share)

    def _colours(self, episode: EpisodeBatch, rows: Tensor, masks: Tensor) -> Tensor:
        """Return the query's mask (3, S, S) as painted by the example of images `rows` and their `masks`, 0 to 255."""
        examples = torch.stack([episode.pixels(row) for row in cast(list[int], rows.tolist())])
        query = episode.pixels(int(episode.query[0]))
        return colours(self.backbone.paint(query, examples, normalise(masks), self.embedding, self.ensemble_variant))
