"""Candidate masks that a promptable network makes of points, filtered (matcher.md §6).

Shapes: B prompts, m masks of each, n points of a prompt, (H, W) the image.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchvision.ops import batched_nms

OFFSET = 1.0
"""Logits below and above 0 at which a stable mask is the same."""


@dataclass(frozen=True)
class Candidates:
    """Masks that are left, in descending order of their predicted IoU.

    Attributes:
        masks: (M, H, W) bool.
        iou: (M,) float32, as predicted.
        stability: (M,) float32, see `stability`.
    """

    masks: Tensor
    iou: Tensor
    stability: Tensor


@dataclass(frozen=True)
class Thresholds:
    """Filters of the masks of one kind of prompts.

    Attributes:
        iou: predicted IoU that a mask must exceed; 0 for any.
        stability: least stability; 0 for any.
    """

    iou: float = 0.0
    stability: float = 0.0


@dataclass(frozen=True)
class PointPrompts:
    """Prompts of equally many points.

    Attributes:
        points: (B, n, 2), x and y in pixels.
        multimask: keep three masks of each prompt.
        thresholds: which masks stay.
        box: (4,) around the object, x0, y0, x1, y1; None without.
    """

    points: Tensor
    multimask: bool
    thresholds: Thresholds = field(default_factory=Thresholds)
    box: Tensor | None = None

    def chunks(self, size: int) -> Iterator["PointPrompts"]:
        """Yield the prompts, `size` at a time."""
        for part in self.points.split(size):
            yield PointPrompts(part, self.multimask, self.thresholds, self.box)


def grid_points(per_side: int, side: int) -> Tensor:
    """Return a grid of single points (per_side², 1, 2) float64 over an image of `side` pixels, x fastest."""
    steps = (2 * torch.arange(per_side, dtype=torch.float64) + 1) / (2 * per_side) * side
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)[:, None]


def stability(logits: Tensor) -> Tensor:
    """Return the share (·) of the pixels above the lower threshold that are above the upper one, too; NaN for none."""
    above, below = ((logits > offset).sum((-2, -1)) for offset in (OFFSET, -OFFSET))
    return above / below


def boxes_of(masks: Tensor) -> Tensor:
    """Return the boxes (M, 4) float32 x0, y0, x1, y1 of masks (M, H, W), by first and last pixels; 0 for empty ones."""
    ends = []
    for axis in (1, 2):
        line = masks.any(axis)
        last = line.shape[1] - 1 - line.flip(1).byte().argmax(1)
        ends += [line.byte().argmax(1), last]
    boxes = torch.stack([ends[0], ends[2], ends[1], ends[3]], 1)
    return (boxes * masks.flatten(1).any(1)[:, None]).float()


def keep_good(logits: Tensor, iou: Tensor, thresholds: Thresholds) -> Candidates:
    """Return the masks of logits (B, m, H, W), prompt after prompt, that pass the thresholds; in no other order."""
    logits, iou = logits.flatten(0, 1), iou.flatten()
    if thresholds.iou > 0:
        good = iou > thresholds.iou
        logits, iou = logits[good], iou[good]
    stable = stability(logits)
    if thresholds.stability > 0:
        good = stable >= thresholds.stability
        logits, iou, stable = logits[good], iou[good], stable[good]
    return Candidates(logits > 0, iou, stable)


def without_overlap(batches: Iterable[Candidates], threshold: float) -> Candidates:
    """Join batches and leave out masks whose box lies over that of a mask with a higher predicted IoU.

    Args:
        batches: at least one.
        threshold: IoU of two boxes above which only one stays.
    """
    found = list(batches)
    masks = torch.cat([batch.masks for batch in found])
    iou, stable = torch.cat([batch.iou for batch in found]), torch.cat([batch.stability for batch in found])
    kept = batched_nms(boxes_of(masks), iou.float(), torch.zeros_like(iou, dtype=torch.int64), threshold)
    return Candidates(masks[kept], iou[kept], stable[kept])
