"""What K one-shot predictions say together: the ensembles that DCAMA's one pass is compared with (dcama.md §8).

They need nothing of a method but its two-class logits, so any method that can do one shot can do K this way.

Shapes: K shots, N ways, (h, w) the predicted map.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

NShotStrategy = Literal["own", "one_pass", "vote", "average", "average_logit", "hsnet_vote", "cross_guided"]
"""How K shots become one prediction: "own" as the method does it by itself; "one_pass" the same, for methods that see
all shots at once and for no others; the rest is below."""

ENSEMBLES = tuple(name for name in get_args(NShotStrategy) if name not in ("own", "one_pass"))


def combine(logits: Tensor, strategy: str, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Join one-shot logits (K, N, 2, h, w); entry 1 is foreground.

    "vote": foreground where at least half of the hard masks say so. "average": mean probability above 0.5.
    "average_logit": mean logits. "hsnet_vote": votes over the most votes of any pixel (at least 1), 0.5 or more.
    "cross_guided": probabilities weighted with `weights` (K, N), how well a shot segments the supports; where they are
    all 0, "average".

    Returns:
        scores (N, h, w) in [0, 1], by which ways are compared, and foreground (N, h, w) bool.
    """
    shots = len(logits)
    if strategy == "average_logit":
        mean = logits.mean(0)
        return mean.softmax(1)[:, 1], mean[:, 1] > mean[:, 0]
    if strategy in ("average", "cross_guided"):
        share = logits.new_ones(logits.shape[:2]) if weights is None else weights
        share = torch.where(share.sum(0) > 0, share, 1.0)
        probability = (share[..., None, None] * logits.softmax(2)[:, :, 1]).sum(0) / share.sum(0)[:, None, None]
        return probability, probability > 0.5
    votes = (logits[:, :, 1] > logits[:, :, 0]).sum(0)
    most = votes.amax((1, 2), keepdim=True).clamp(min=1) if strategy == "hsnet_vote" else shots
    agreed = votes / most
    probability = logits.softmax(2)[:, :, 1].mean(0)  # decides between ways with equally many votes
    return (agreed * (shots + 1) + probability) / (shots + 2), agreed >= 0.5


def label_map(scores: Tensor, foreground: Tensor) -> Tensor:
    """Scores (N, h, w) and foreground (N, h, w) -> (h, w) int64: of the ways that are foreground the one with the
    highest score (the first on ties), else 0."""
    way = torch.where(foreground, scores, -torch.inf).argmax(0)
    return torch.where(foreground.any(0), way + 1, 0)
