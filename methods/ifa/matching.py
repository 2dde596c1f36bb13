"""Prototypes that queries and supports make of themselves, and the loop between both (ifa.md §2-§4).

Shapes: b items, K shots, C channels, (h, w) a map, (H, W) an image. Of two channels the first is background, the second
foreground. Foreground and background are prototypes (b, C, 1, 1), or maps (b, C, h, w) that are compared position by
position.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Result = TypeVar("Result")

SHARPNESS = 10.0  # factor of cosines, §1
AREA = 1e-5  # added to a mask's sum, §2
SURE = (0.6, 0.7)  # probabilities of background and foreground above which a position counts, §3
FEWEST = 12  # positions of a set that would be empty, §3
LOCAL_SHARPNESS = 2.0  # factor of the cosines between positions, §3

ShotOrder = Literal["program", "matched"]
"""Order in which the loop lays the prototypes of items over their shots: as the authors' program, which in batches of
several items and shots takes those of other items, or each over its own (§4, defect 1)."""


class Prototypes(NamedTuple):
    """Foreground and background vectors with which features are compared."""

    foreground: Tensor
    background: Tensor


class Own(NamedTuple):
    """Prototypes made from the query's own features: two (b, C, 1, 1), and a local background (b, C, h, w)."""

    foreground: Tensor
    background: Tensor
    local: Tensor


def similarity(x: Tensor, prototypes: Prototypes) -> Tensor:
    """Return the cosines (b, 2, h, w) of features (b, C, h, w) with background and foreground, times 10."""
    cosines = [F.cosine_similarity(x, p, dim=1) for p in (prototypes.background, prototypes.foreground)]
    return SHARPNESS * torch.stack(cosines, 1)


def masked_prototypes(x: Tensor, mask: Tensor) -> Prototypes:
    """Average features (b, C, h, w) inside and outside of a mask (b, H, W), which is resized to them (§2)."""

    def mean(chosen: Tensor) -> Tensor:
        share = F.interpolate(chosen[:, None].to(x.dtype), x.shape[-2:], mode="bilinear", align_corners=True)
        return (x * share).sum((2, 3), keepdim=True) / (share.sum((2, 3), keepdim=True) + AREA)

    return Prototypes(mean(mask == 1), mean(mask == 0))


def by_own_mask(x: Tensor, mask: Tensor) -> Tensor:
    """Return the similarity (b, 2, h, w) of features with prototypes of their own masks (b, H, W)."""
    return similarity(x, masked_prototypes(x, mask))


def mean_prototypes(shots: Sequence[Prototypes]) -> Prototypes:
    """Average prototypes over shots."""
    foreground, background = (torch.stack(part).mean(0) for part in zip(*shots, strict=True))
    return Prototypes(foreground, background)


def local_background(x: Tensor, background: Tensor) -> Tensor:
    """Average background features for each position, weighted by similarity (§3).

    Args:
        x: (C, N) features.
        background: (C, n), those of them that are background.

    Returns:
        (C, N).
    """
    cosines = (x / x.norm(dim=0)).mT @ (background / background.norm(dim=0))
    return background @ (LOCAL_SHARPNESS * cosines).softmax(1).mT


def self_support(x: Tensor, logits: Tensor) -> Own:
    """Make prototypes from positions that are surely foreground or background, for each item (§3).

    Which these are has no gradient; their features have one.

    Args:
        x: features (b, C, h, w).
        logits: (b, 2, h, w).
    """
    found = []
    for item, probabilities in zip(x.flatten(2), logits.detach().softmax(1).flatten(2), strict=True):
        outside, inside = (item[:, _sure(p, least)] for p, least in zip(probabilities, SURE, strict=True))
        found.append((inside.mean(1), outside.mean(1), local_background(item, outside)))
    foreground, background, local = (torch.stack(part) for part in zip(*found, strict=True))
    return Own(foreground[..., None, None], background[..., None, None], local.view(x.shape))


def _sure(probability: Tensor, least: float) -> Tensor:
    """Return the places where a probability (N,) is above `least`, or its 12 largest if there is none."""
    places = (probability > least).nonzero()[:, 0]
    return places if len(places) else probability.topk(FEWEST).indices


def enhanced(x: Tensor, logits: Tensor, foreground: Tensor) -> Prototypes:
    """Mix prototypes from features themselves with a given foreground, half each (§4).

    Args:
        x: features (b, C, h, w).
        logits: their similarity with other prototypes (b, 2, h, w).
        foreground: the given one.
    """
    own = self_support(x, logits)
    return Prototypes(0.5 * foreground + 0.5 * own.foreground, 0.3 * own.background + 0.7 * own.local)


class Round(NamedTuple):
    """Outputs of one round of iteration; None for outputs it does not make.

    Attributes:
        refined: logits of the refined query (b, 2, h, w).
        query: logits of the query.
        support: logits of the supports (K·b, 2, h, w).
        prototypes: what the next round starts from.
    """

    refined: Tensor | None
    query: Tensor
    support: Tensor | None
    prototypes: Prototypes | None


def one_round(
    start: Prototypes, query: Tensor, support: Tensor | None, refines: bool, order: ShotOrder = "program"
) -> Round:
    """Segment queries by their own prototypes, then supports by these (§4).

    Args:
        start: the start of the supports, or of the round before.
        query: features (b, C, h, w).
        support: features (K·b, C, h, w) of all items' first shot, then of the second, and so on; None tests.
        refines: make the query's prototypes a second time.
        order: how prototypes of items meet their shots.
    """
    first = enhanced(query, similarity(query, start), start.foreground)
    logits = similarity(query, first)
    refined = None
    if refines:
        second = enhanced(query, logits, start.foreground)
        mixed = [0.5 * s + 0.2 * a + 0.3 * b for s, a, b in zip(start, first, second, strict=True)]
        refined = 0.7 * similarity(query, Prototypes(*mixed)) + 0.3 * logits
    if support is None:
        return Round(refined, logits, None, None)
    answers, following = [], []
    for shots, *given in zip(
        _by_item(support, len(query), order), *(x.split(1) for x in (start.foreground, *first)), strict=True
    ):
        matched = in_turn(_match_shot, [(shot, *given) for shot in shots.split(1)])
        answers.append(torch.cat([own_logits for own_logits, _ in matched]))
        following.append(mean_prototypes([own for _, own in matched]))
    prototypes = Prototypes(*(torch.cat(part) for part in zip(*following, strict=True)))
    return Round(refined, logits, _by_row(torch.stack(answers), order), prototypes)


def _match_shot(shot: Tensor, foreground: Tensor, *given: Tensor) -> tuple[Tensor, Prototypes]:
    """Segment a shot (1, C, h, w) with prototypes that it makes of itself, which are returned beside the logits.

    Args:
        shot: its features.
        foreground: half of its new one.
        given: foreground and background of the query, by which it makes them.
    """
    own = enhanced(shot, similarity(shot, Prototypes(*given)), foreground)
    return similarity(shot, own), own


def in_turn(function: Callable[..., Result], shots: Sequence[tuple[Tensor, ...]]) -> list[Result]:
    """Call a function for each shot, one after the other.

    With several shots a call keeps its arguments alone: the gradients compute what is in between again, so that memory
    holds that of one shot at a time.
    """
    if len(shots) == 1:
        return [function(*shots[0])]
    return [checkpoint(function, *arguments, use_reentrant=False) for arguments in shots]


def _by_item(support: Tensor, items: int, order: ShotOrder) -> Tensor:
    """Return (K·b, ...) as (b, K, ...): an item has K rows in a row, as in the program, or its own shots."""
    return (
        support.unflatten(0, (items, -1)) if order == "program" else support.unflatten(0, (-1, items)).transpose(0, 1)
    )


def _by_row(x: Tensor, order: ShotOrder) -> Tensor:
    """Return (b, K, ...) as (K·b, ...), the reverse of `_by_item`."""
    return (x if order == "program" else x.transpose(0, 1)).flatten(0, 1)
