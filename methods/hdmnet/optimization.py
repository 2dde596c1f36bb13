"""HDMNet's optimiser: AdamW with two rates that fall together (hdmnet.md §7)."""

from typing import Any

import torch
from torch import nn

from fsbench.methods.modules.poly_rate import poly_schedule

MODULES = ("transformer", "down_supp", "down_query", "supp_merge", "query_merge", "gram_merge", "cls_merge")
"""Modules of the head, a parameter group each, in the authors' order; `kshot_rw` is in none and stays as it begins."""
FACTOR = 10
"""Times the rate of all groups but the first."""


def poly_adamw(head: nn.Module, learning_rate: float, weight_decay: float, steps: int) -> dict[str, Any]:
    """Return AdamW for the modules of `head`, and its schedule, as Lightning takes them.

    Args:
        head: the head.
        learning_rate: rate of the transformer at the start.
        weight_decay: of all groups, norms and biases included.
        steps: of the whole training.
    """
    groups: list[dict[str, Any]] = [
        {"params": list(getattr(head, name).parameters()), "lr": learning_rate * (FACTOR if i else 1)}
        for i, name in enumerate(MODULES)
        if hasattr(head, name)
    ]
    optimizer = torch.optim.AdamW(groups, learning_rate, weight_decay=weight_decay)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": poly_schedule(optimizer, steps), "interval": "step"}}
