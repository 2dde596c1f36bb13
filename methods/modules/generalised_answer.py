"""Base and novel classes in one label map, as BAM's generalised test joins its two outputs (gfss.md §9)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.ops.first_largest import first_largest


def join_base(
    logits: Tensor,
    base_logits: Tensor,
    size: tuple[int, int],
    tau: float = 0.9,
    first: Literal["final", "base"] = "final",
) -> Tensor:
    """Return the label map (*size) int64: 0 background, 1 to n base classes, n + 1 the novel class.

    Args:
        logits: (2, h, w), the final output for the novel class.
        base_logits: (n + 1, h', w'), the base learner's for background and base classes.
        size: of the answer; the logits are resized to it, not their probabilities.
        tau: probability above which a pixel is the novel class.
        first: output that wins where both name a class.
    """
    final, base = (
        F.interpolate(maps[None], size, mode="bilinear", align_corners=True)[0] for maps in (logits, base_logits)
    )
    found, seen, number = final.softmax(0)[1] > tau, first_largest(base), len(base_logits)
    if first == "final":
        return torch.where(found, number, seen)
    return torch.where(seen != 0, seen, torch.where(found, number, 0))
