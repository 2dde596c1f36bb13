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
    """Foreground and background prototypes, (b, C, 1, 1) for a whole image or (b, C, h, w) for each position."""

    foreground: Tensor
    background: Tensor


class Own(NamedTuple):
    """Prototypes computed from the query's own features.

    There are a mean foreground and a mean background (b, C, 1, 1), and a background for each position (b, C, h, w).
    """

    foreground: Tensor
    background: Tensor
    local: Tensor


def similarity(x: Tensor, prototypes: Prototypes) -> Tensor:
    """Return the cosines (b, 2, h, w) of features (b, C, h, w) with background and foreground, times 10."""
    cosines = [F.cosine_similarity(x, p, dim=1) for p in (prototypes.background, prototypes.foreground)]
    return SHARPNESS * torch.stack(cosines, 1)


def masked_prototypes(x: Tensor, mask: Tensor) -> Prototypes:
    """Average features (b, C, h, w) inside and outside of a mask (b, H, W): foreground and background prototypes (§2).

    The mask is resized to the features.
    """

    def mean(chosen: Tensor) -> Tensor:
        share = F.interpolate(chosen[:, None].to(x.dtype), x.shape[-2:], mode="bilinear", align_corners=True)
        return (x * share).sum((2, 3), keepdim=True) / (share.sum((2, 3), keepdim=True) + AREA)

    return Prototypes(mean(mask == 1), mean(mask == 0))


def by_own_mask(x: Tensor, mask: Tensor) -> Tensor:
    """Return the similarity (b, 2, h, w) of features (b, C, h, w) with the prototypes of their own masks (b, H, W)."""
    return similarity(x, masked_prototypes(x, mask))


def mean_prototypes(shots: Sequence[Prototypes]) -> Prototypes:
    """Average prototypes over shots."""
    foreground, background = (torch.stack(part).mean(0) for part in zip(*shots, strict=True))
    return Prototypes(foreground, background)


def local_background(x: Tensor, background: Tensor) -> Tensor:
    """Return a background prototype for each position: background features averaged by similarity to it (§3).

    Args:
        x: features (C, N) of N positions.
        background: the features (C, n) of the n background positions.

    Returns:
        Prototypes (C, N).
    """
    cosines = (x / x.norm(dim=0)).mT @ (background / background.norm(dim=0))
    return background @ (LOCAL_SHARPNESS * cosines).softmax(1).mT


def self_support(x: Tensor, logits: Tensor) -> Own:
    """Compute prototypes of each image from its positions that are surely foreground or background (§3).

    The choice of positions has no gradient; their features have one.

    Args:
        x: features (b, C, h, w).
        logits: logits (b, 2, h, w) of background and foreground, by which positions are chosen.
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
    """Return prototypes from an image's own features; the foreground is mixed with a given one, half each (§4).

    Args:
        x: features (b, C, h, w).
        logits: similarity of the features with earlier prototypes (b, 2, h, w), by which positions that are surely
            foreground or background are chosen.
        foreground: given foreground prototype (b, C, 1, 1).
    """
    own = self_support(x, logits)
    return Prototypes(0.5 * foreground + 0.5 * own.foreground, 0.3 * own.background + 0.7 * own.local)


class Round(NamedTuple):
    """Outputs of one round of mutual segmentation of query and supports.

    Attributes:
        refined: logits of the query (b, 2, h, w) by prototypes that were computed a second time; None if they were not.
        query: logits of the query (b, 2, h, w) by prototypes from its own features.
        support: logits of the supports (K·b, 2, h, w); None in tests.
        prototypes: prototypes that the next round starts from; None in tests.
    """

    refined: Tensor | None
    query: Tensor
    support: Tensor | None
    prototypes: Prototypes | None


def one_round(
    start: Prototypes, query: Tensor, support: Tensor | None, refines: bool, order: ShotOrder = "program"
) -> Round:
    """Segment queries by prototypes from their own features, then supports by the queries' prototypes (§4).

    Args:
        start: prototypes of the supports, or of the round before.
        query: features of the queries (b, C, h, w).
        support: features of the supports (K·b, C, h, w), all first shots first; None in tests, to skip the supports.
        refines: whether to compute the queries' prototypes a second time.
        order: "matched" segments each episode's shots by the episode's own prototypes; "program" uses prototypes of
            other episodes for some shots, like the authors' code.
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
    """Call a function for each shot, one after the other, and return the results.

    With several shots, only the arguments are kept for the backward pass, which calls the function again (activation
    checkpointing), so that memory holds the activations of one shot at a time.
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
