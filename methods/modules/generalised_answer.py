"""Base and novel classes in one label map, as BAM's generalised test joins its two outputs (gfss.md §9)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.networks.ops.first_largest import first_largest

First = Literal["final", "base"]
"""Output that wins where both name a class: the final one for novel classes, or the base learner's."""


def join_base(
    logits: Tensor, base_logits: Tensor, size: tuple[int, int], tau: float = 0.9, first: First = "final"
) -> tuple[Tensor, Tensor]:
    """Join the outputs of a method for novel classes and of its base learner at the size of the answer.

    The program has one novel class; of several that are found at a pixel the most probable one is taken.

    Args:
        logits: (N, 2, h, w), the final output for each novel class, entry 1 its foreground.
        base_logits: (n + 1, h', w'), the base learner's for background and base classes.
        size: of the answer; the logits are resized to it, not their probabilities.
        tau: probability above which a pixel is a novel class.
        first: see `First`.

    Returns:
        The label map (*size) int64: 0 background, 1 to n base classes, then the novel ones; and the probability
        (n + N, *size) of each class by itself.
    """
    final, base = (
        F.interpolate(maps, size, mode="bilinear", align_corners=True) for maps in (logits, base_logits[None])
    )
    probability, seen = final.softmax(1)[:, 1], first_largest(base[0])
    largest = first_largest(probability)
    found = torch.where((probability > tau).any(0), largest + len(base_logits), 0)
    answer = torch.where(found != 0, found, seen) if first == "final" else torch.where(seen != 0, seen, found)
    return answer, torch.cat([base[0].softmax(0)[1:], probability])
