"""A training step of SegIC: the support answers for the query, then the answer for the support (segic.md §10).

Shapes: b pairs of images, n masks of a pair, N of all, C channels, g side of the frozen network's grid, S image side, P
points.
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.methods.segic.correspondence import best_points, prototypes, similarity
from fsbench.methods.segic.head import SegICHead, at_square

NAMED, BOXED, CROSSED = 0.75, 0.5, 0.5
"""Share of images whose class is named, and draws above which an answer is told its box, and sees the other masks."""
POINTS = 112 * 112
"""Points of a mask at which the loss is taken."""
LOOKED_AT = 3 * POINTS
"""Drawn points among which the unsure ones are looked for."""
UNSURE = POINTS * 3 // 4
"""Points of a mask that are unsure; the others are drawn anew."""

DrawPoints = Callable[[int], Tensor]
"""Draws that many points of each mask: (N, points, 2), x and y from 0 to below 1."""


class Turn(NamedTuple):
    """Random choices for the segmentation of one image of a training pair, in SegIC's training.

    Attributes:
        named: whether the text prompt names the class.
        boxed: whether the object's true box is a prompt.
        crossed: whether the prompt of a mask also holds the prototypes of the pair's other masks.
    """

    named: bool
    boxed: bool
    crossed: bool


def draw_turns(rng: random.Random, images: int) -> list[Turn]:
    """Draw the random choices for `images` images, in the order in which the authors' program draws them."""
    named = [rng.random() < NAMED for _ in range(images)]
    return [Turn(own, rng.random() > BOXED, rng.random() > CROSSED) for own in named]


class Side(NamedTuple):
    """One image of a training pair (query or support).

    Attributes:
        features: features of the image (C, g, g).
        masks: true masks (n, S, S) of 0 and 1.
        text: embedding (·,) of the text prompt.
    """

    features: Tensor
    masks: Tensor
    text: Tensor


def true_boxes(masks: Tensor) -> Tensor:
    """Return the bounding boxes (n, 4), x0, y0, x1, y1 inclusive, of masks (n, S, S); zeros for an empty mask."""
    ends = []
    for axis in (1, 2):
        line = (masks != 0).any(axis).int()
        ends += [line.argmax(1), line.shape[1] - 1 - line.flip(1).argmax(1)]
    boxes = torch.stack([ends[0], ends[2], ends[1], ends[3]], 1).float()
    return boxes * (masks != 0).flatten(1).any(1)[:, None]


def answer(head: SegICHead, query: Side, support: Tensor, masks: Tensor, turn: Turn, tau: float) -> Tensor:
    """Segment a query in training by n masks of a support; return logits (n, 1, 4g, 4g).

    Args:
        head: SegIC's trained layers.
        query: features, true masks and text of the query.
        support: features of the support (C, g, g).
        masks: masks of the support (n, S, S).
        turn: random choices for the prompt.
        tau: number by which the similarity is divided.
    """
    with torch.no_grad():
        found = prototypes(support, masks)
        maps = similarity(found[:, None], query.features, masks.shape[-1], tau)
        points = best_points(maps)
    count = len(found)
    texts = query.text.expand(count, -1)
    if turn.crossed:
        tokens = head.cross_tokens(texts, found, torch.eye(count, dtype=torch.bool, device=found.device))
    else:
        tokens = head.single_tokens(texts, found)
    boxes = true_boxes(query.masks).to(points) if turn.boxed else None
    logits: Tensor = head(
        head.neck_of(query.features), maps, tokens, points[:, None], points.new_ones(count, 1), boxes
    )  # fmt: skip
    return logits


def both_directions(
    head: SegICHead, queries: Sequence[Side], supports: Sequence[Side], turns: Sequence[Turn], tau: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Segment each query by its support's true masks, then each support by the query's predicted masks.

    Args:
        head: SegIC's trained layers.
        queries, supports: b pairs of images.
        turns: random choices of prompts for the b queries, then for the b supports.
        tau: number by which similarities are divided.

    Returns:
        Logits (N, 1, 4g, 4g) of all queries, and logits (N, 1, 4g, 4g) of all supports, pair after pair, for N masks.
    """
    pairs = list(zip(queries, supports, strict=True))
    forward = [
        answer(head, query, support.features, support.masks, turn, tau)
        for (query, support), turn in zip(pairs, turns[: len(pairs)], strict=True)
    ]
    reverse = []
    for (query, support), logits, turn in zip(pairs, forward, turns[len(pairs) :], strict=True):
        predicted = at_square(logits.detach(), query.masks.shape[-1])[:, 0] > 0
        reverse.append(answer(head, support, query.features, predicted, turn, tau))
    return torch.cat(forward), torch.cat(reverse)


def step_losses(
    forward: Tensor, reverse: Tensor, queries: Sequence[Side], supports: Sequence[Side], draw: DrawPoints
) -> dict[str, Tensor]:
    """Return the losses of a training step, scalars: cross-entropy and dice loss of queries and of supports.

    The keys are "mask" and "dice" of the queries, "mask_reverse" and "dice_reverse" of the supports, and "loss", half
    their sum.

    Args:
        forward, reverse: logits (N, 1, 4g, 4g) of all queries and of all supports, from `both_directions`.
        queries, supports: b pairs of images with their true masks.
        draw: function that draws random points in all N masks; called for the queries, then for the supports.
    """
    mask, dice = point_losses(forward, torch.cat([side.masks for side in queries]), draw)
    mask_reverse, dice_reverse = point_losses(reverse, torch.cat([side.masks for side in supports]), draw)
    loss = (mask + dice + mask_reverse + dice_reverse) / 2
    return {"loss": loss, "mask": mask, "dice": dice, "mask_reverse": mask_reverse, "dice_reverse": dice_reverse}


def point_losses(logits: Tensor, masks: Tensor, draw: DrawPoints) -> tuple[Tensor, Tensor]:
    """Return cross-entropy and dice loss (scalars) of logits (N, 1, 4g, 4g) against masks (N, S, S), means over masks.

    The losses are computed at points that `draw` draws: of many points those whose logits are nearest to 0, and some
    further random points.
    """
    with torch.no_grad():
        drawn = draw(LOOKED_AT).to(logits)
        order = (-values_at(logits, drawn).abs()).topk(UNSURE, dim=1).indices
        unsure = drawn.gather(1, order[..., None].expand(-1, -1, 2))
        points = torch.cat([unsure, draw(POINTS - UNSURE).to(logits)], 1)
    truth = values_at(masks[:, None].to(logits), points)
    found = values_at(logits, points)
    entropy = F.binary_cross_entropy_with_logits(found, truth, reduction="none").mean(1)
    p = found.sigmoid()
    dice = 1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)
    return entropy.mean(), dice.mean()


def values_at(maps: Tensor, points: Tensor) -> Tensor:
    """Sample maps (N, 1, h, w) bilinearly at points (N, P, 2) given as shares of the map: (N, P), 0 outside."""
    return F.grid_sample(maps, 2 * points[:, None] - 1, mode="bilinear", align_corners=False)[:, 0, 0]


def episode_points(streams: Sequence[str]) -> DrawPoints:
    """Return a function from a count P to random points (N, P, 2) in [0, 1), with a random stream for each episode.

    `streams` are N texts that seed the streams.
    """
    own = [torch.Generator().manual_seed(random.Random(stream).getrandbits(63)) for stream in streams]
    return lambda count: torch.stack([torch.rand(count, 2, generator=stream) for stream in own])
