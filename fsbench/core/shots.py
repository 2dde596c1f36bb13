"""How the K answers that a query got from the K supports of a way become one: a rule by name.

A rule reads the answers one after the other, so that of many shots one is held at a time.

Shapes: (h, w) the size of the query's label map. Of two logits or probabilities the second is the foreground's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fsbench.core.shot_ensemble import combine


class Shot(NamedTuple):
    """Logits of the query that follow from one support, or from all supports together.

    Attributes:
        logits: (2, h, w), background before foreground.
        presence: (2,) logits of the way being absent or present; None for methods that only segment.
    """

    logits: Tensor
    presence: Tensor | None


class Way(NamedTuple):
    """Decision about one way (class of the episode) in the query, without regard to the other ways.

    Attributes:
        score: (h, w), by which ways that claim the same pixel are compared: foreground minus background logit, unless
            the method's paper compares something else.
        foreground: (h, w) bool, pixels that the way claims.
        margin: function that returns how far (h, w) the deciding probabilities are from one half, for exported files;
            None if no probability decided.
        probability: (h, w) in [0, 1], the soft mask; None if there is none.
        logits: (2, h, w), background before foreground; None if several shots were combined without common logits.
        present: scalar bool, whether the query shows the way; None for methods that only segment.
        presence_score: scalar in [0, 1], how sure the method is that the way is present; None where `present` is None.
    """

    score: Tensor
    foreground: Tensor
    margin: Callable[[], Tensor] | None = None
    probability: Tensor | None = None
    logits: Tensor | None = None
    present: Tensor | None = None
    presence_score: Tensor | None = None


ShotRule = Callable[[Iterable[Shot]], Way]


def only(shots: Iterable[Shot]) -> Way:
    """Decide about a way by the logits of a single shot, or of all supports joined.

    A pixel is foreground where its foreground logit is above its background logit; presence is decided likewise.
    """
    (shot,) = shots
    foreground, lead = shot.logits.softmax(0)[1], shot.logits[1] - shot.logits[0]
    way = Way(lead, lead > 0, lambda: _from_half([foreground]), foreground, shot.logits)
    if shot.presence is None:
        return way
    seen = shot.presence.softmax(0)[1]
    return way._replace(present=seen > 0.5, presence_score=seen)


def vote(shots: Iterable[Shot]) -> Way:
    """Combine shots by votes: a pixel is foreground with at least half of the most votes of any pixel (HSNet §4.5)."""
    answers = list(shots)
    if len(answers) == 1:
        return only(answers)
    found = combine([shot.logits[None] for shot in answers], "hsnet_vote")

    def margin() -> Tensor:
        return _from_half([shot.logits.softmax(0)[1] for shot in answers])

    return Way(found.scores[0], found.foreground[0], margin, found.probability[0])


def add(shots: Iterable[Shot]) -> Way:
    """Sum the foreground and background probabilities of all shots, and decide by a second softmax over the sums.

    Where several ways claim a pixel, they are compared by the second softmax, as in the authors' program (emat.md §6);
    of two confident ways the first wins.
    """
    return _second_softmax(shots, average=False)


def average(shots: Iterable[Shot]) -> Way:
    """Average the probabilities of all shots, and decide by a second softmax over the means (CST of 2023)."""
    return _second_softmax(shots, average=True)


def _second_softmax(shots: Iterable[Shot], average: bool) -> Way:
    number, masks, presence = 0, None, None
    for shot in shots:
        number += 1
        probability = shot.logits.softmax(0)
        masks = probability if masks is None else masks + probability
        if shot.presence is not None:
            seen = shot.presence.softmax(0)
            presence = seen if presence is None else presence + seen
    assert masks is not None
    if average:
        masks, presence = masks / number, None if presence is None else presence / number
    return decide_sums(masks, presence)


def decide_sums(masks: Tensor, presence: Tensor | None) -> Way:
    """Decide about a way by a second softmax over probabilities summed over shots (emat.md §6).

    Args:
        masks: (2, h, w), summed probabilities of background and foreground.
        presence: (2,), summed probabilities of absent and present; None for methods that only segment.
    """
    foreground = masks.softmax(0)[1]
    logits = masks.clamp(min=1e-30).log()
    decided = Way(foreground, foreground >= 0.5, lambda: _from_half([foreground]), foreground, logits)
    if presence is None:
        return decided
    return decided._replace(present=presence.softmax(0)[1] > 0.5, presence_score=presence[1] / presence.sum())


def _from_half(probabilities: Sequence[Tensor]) -> Tensor:
    """Return the smallest distance of probabilities (h, w) from one half."""
    return torch.stack([(probability - 0.5).abs() for probability in probabilities]).amin(0)


RULES: Mapping[str, ShotRule] = {"joined": only, "vote": vote, "add": add, "average": average}
"""The rules by name; "joined" is that of methods which read all supports of a way together."""


def one_against_rest(logits: Tensor) -> Tensor:
    """Turn logits (N + 1, h, w), background first, into two-class logits (N, 2, h, w) of each way against the rest."""
    ways = range(1, len(logits))
    rest = [torch.cat([logits[:way], logits[way + 1 :]]).logsumexp(0) for way in ways]
    return torch.stack([torch.stack([other, logits[way]]) for way, other in zip(ways, rest, strict=True)])
