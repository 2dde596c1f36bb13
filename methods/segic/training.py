"""A training step of SegIC: the support answers for the query, then the answer for the support (segic.md §10).

Shapes: b pairs of images, n masks of a pair, C channels, g side of the frozen network's grid, S image side.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fsbench.methods.segic.correspondence import best_points, prototypes, similarity
from fsbench.methods.segic.head import Decoded, PointPrompts, SegICHead, at_square
from fsbench.methods.segic.loss import DrawPoints, point_losses

NAMED, BOXED, CROSSED = 0.75, 0.5, 0.5
"""Share of images whose class is named, and draws above which an answer is told its box, and sees the other masks."""


@dataclass(frozen=True)
class Draws:
    """Random choices of a step for b pairs.

    Attributes:
        named: whether the text names the class: of the b queries, then of the b supports.
        boxed: whether the true box is a prompt: of the b queries' answers, then of the b supports'.
        crossed: whether an answer sees the prototypes of the other masks, in the same order.
    """

    named: Sequence[bool]
    boxed: Sequence[bool]
    crossed: Sequence[bool]

    @classmethod
    def of(cls, rng: random.Random, pairs: int) -> "Draws":
        """Draw them in the authors' order."""
        named = [rng.random() < NAMED for _ in range(2 * pairs)]
        turns = [(rng.random() > BOXED, rng.random() > CROSSED) for _ in range(2 * pairs)]
        return cls(named, [boxed for boxed, _ in turns], [crossed for _, crossed in turns])

    @classmethod
    def joined(cls, single: Sequence["Draws"]) -> "Draws":
        """Join the choices of single pairs."""

        def queries_first(parts: Sequence[Sequence[bool]]) -> list[bool]:
            return [part[turn] for turn in (0, 1) for part in parts]

        return cls(
            queries_first([one.named for one in single]),
            queries_first([one.boxed for one in single]),
            queries_first([one.crossed for one in single]),
        )


@dataclass(frozen=True)
class Side:
    """One image of a pair.

    Attributes:
        features: (C, g, g).
        masks: (n, S, S) of 0 and 1.
        text: (·,) vector of its text.
    """

    features: Tensor
    masks: Tensor
    text: Tensor


def true_boxes(masks: Tensor) -> Tensor:
    """Return the boxes (n, 4) of masks (n, S, S), x and y of the first and the last pixel; 0 of empty ones."""
    ends = []
    for axis in (1, 2):
        line = (masks != 0).any(axis)
        last = line.shape[1] - 1 - line.flip(1).int().argmax(1)
        ends += [line.int().argmax(1), last]
    boxes = torch.stack([ends[0], ends[2], ends[1], ends[3]], 1).float()
    return boxes * (masks != 0).flatten(1).any(1)[:, None]


def answer(
    head: SegICHead, query: Side, support: Side, support_masks: Tensor, boxed: bool, crossed: bool, tau: float = 1.0
) -> Decoded:
    """Answer a query with the masks of a support, as in training.

    Args:
        head: learned part.
        query: whose masks are told as boxes, if `boxed`.
        support: its features.
        support_masks: (n, S, S) of the support.
        boxed: the true boxes are prompts, too.
        crossed: an answer sees all prototypes; else its own alone.
        tau: divisor of similarities.
    """
    with torch.no_grad():
        found = prototypes(support.features, support_masks)
        side = support_masks.shape[-1]
        maps = similarity(found, query.features, side, tau)
        points = best_points(maps)
    count = len(found)
    texts = query.text.expand(count, -1)
    if crossed:
        tokens = head.cross_tokens(texts, found, torch.eye(count, dtype=torch.bool, device=found.device))
    else:
        tokens = head.single_tokens(texts, found)
    given = PointPrompts(
        points[:, None], points.new_ones(count, 1), true_boxes(query.masks).to(points) if boxed else None
    )
    return head.decode(head.neck_of(query.features), head.sparse(given, tokens, side), head.dense(maps))


def both_directions(
    head: SegICHead, queries: Sequence[Side], supports: Sequence[Side], draws: Draws, tau: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Answer each query by its support, then each support by that answer.

    Args:
        head: learned part.
        queries, supports: b pairs.
        draws: of boxes and of other masks.
        tau: divisor of similarities.

    Returns:
        Logits (N, 1, 4g, 4g) of all queries, and those of all supports, pair after pair.
    """
    pairs = len(queries)
    forward, reverse = [], []
    for i, (query, support) in enumerate(zip(queries, supports, strict=True)):
        forward.append(answer(head, query, support, support.masks, draws.boxed[i], draws.crossed[i], tau).low_res)
    for i, (query, support) in enumerate(zip(queries, supports, strict=True)):
        predicted = at_square(forward[i].detach(), query.masks.shape[-1])[:, 0] > 0
        turn = draws.boxed[pairs + i], draws.crossed[pairs + i]
        reverse.append(answer(head, support, query, predicted.to(query.features), *turn, tau).low_res)
    return torch.cat(forward), torch.cat(reverse)


def step_losses(
    forward: Tensor, reverse: Tensor, queries: Sequence[Side], supports: Sequence[Side], draw: DrawPoints
) -> dict[str, Tensor]:
    """Return the losses of a step; "loss" is half of the sum of the others.

    Args:
        forward, reverse: logits of `both_directions`.
        queries, supports: b pairs.
        draw: draws points of all N masks, for the queries, then for the supports.
    """
    mask, dice = point_losses(forward, torch.cat([side.masks for side in queries]), draw)
    mask_reverse, dice_reverse = point_losses(reverse, torch.cat([side.masks for side in supports]), draw)
    return {
        "loss": (mask + dice + mask_reverse + dice_reverse) / 2,
        "mask": mask,
        "dice": dice,
        "mask_reverse": mask_reverse,
        "dice_reverse": dice_reverse,
    }
