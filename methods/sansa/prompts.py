"""Prompts of supports: the mask, or points for pixels, a box or scribbles (sansa.md §5).

Shapes: (D, D) an image as episodes have it, n points, S side of SAM 2's square.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import find_objects, label
from torch import Tensor

from fsbench.data.support_annotation import AnnotationStreams, draw_annotation
from fsbench.networks.backbones.sam2_sam3 import PointPrompts

Kind = Literal["mask", "point", "scribble", "box"]
"""Kind of a support's prompt."""
KINDS: tuple[Kind, ...] = ("mask", "point", "scribble", "box")
"""All kinds, in the order from which `multi` draws."""
Box = tuple[int, int, int, int]
"""x1, y1, x2, y2; x2 and y2 lie beyond it."""


def prompt_mask(mask: Tensor, side: int) -> Tensor:
    """Resize masks (b, D, D) of 0 and 1 to (b, side, side) float32: every pixel that the mask touches becomes 1."""
    resized = F.interpolate(
        mask[:, None].float(), (side, side), mode="bilinear", align_corners=False, antialias=True
    )  # fmt: skip
    return (resized[:, 0] > 0).float()


def component_boxes(mask: np.ndarray) -> list[Box]:
    """Return the boxes of a mask's 4-connected components, ordered by the components' first pixels, row by row."""
    found = find_objects(label(mask)[0])
    return [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in found]


def merged_boxes(boxes: list[Box]) -> list[Box]:
    """Join overlapping boxes in one pass: each box enlarges the first earlier box that it overlaps, if any."""
    kept: list[Box] = []
    for x1, y1, x2, y2 in boxes:
        for place, (a1, b1, a2, b2) in enumerate(kept):
            if x1 < a2 and a1 < x2 and y1 < b2 and b1 < y2:
                kept[place] = min(x1, a1), min(y1, b1), max(x2, a2), max(y2, b2)
                break
        else:
            kept.append((x1, y1, x2, y2))
    return kept


def largest_box(mask: np.ndarray) -> Box:
    """Return the largest box of a mask's components, overlapping boxes joined; zeros for an empty mask.

    On ties the first box is returned.
    """
    return max(merged_boxes(component_boxes(mask)), key=lambda b: (b[2] - b[0]) * (b[3] - b[1]), default=(0, 0, 0, 0))


def pixel_points(annotation: Tensor) -> Tensor:
    """Return the marked pixels (n, 2) float32, x and y, of a map (D, D), row by row; the point (0, 0) if none is."""
    rows, columns = annotation.nonzero(as_tuple=True)
    if not len(rows):
        return torch.zeros(1, 2)
    return torch.stack([columns, rows], 1).float()


def prompt_points(mask: Tensor, kind: Kind, streams: AnnotationStreams) -> PointPrompts:
    """Draw point, scribble or box prompts from a support's mask (D, D), in pixels of the image.

    Args:
        mask: the mask of 0 and 1, or bool.
        kind: "point", "scribble" or "box".
        streams: random streams from which points and scribbles are drawn; boxes and empty masks draw nothing.
    """
    mask = mask.cpu() > 0
    if kind == "box":
        x1, y1, x2, y2 = largest_box(mask.numpy())
        return PointPrompts(torch.tensor([[[x1, y1], [x2, y2]]]).float(), torch.tensor([[2, 3]]))
    points = pixel_points(draw_annotation(mask, kind, streams, idle_draws=False))
    return PointPrompts(points[None], torch.ones(1, len(points), dtype=torch.int64))


def in_square(prompts: PointPrompts, size: tuple[int, int], side: int) -> PointPrompts:
    """Scale point prompts from the pixels of an image of `size` (H, W) to a square of `side` pixels."""
    height, width = size
    factors = torch.tensor([side / width, side / height], device=prompts.points.device)
    return PointPrompts(prompts.points * factors, prompts.labels)
