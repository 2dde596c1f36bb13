"""The training of VRP-SAM: loss, optimiser and schedule (vrp-sam.md §8)."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_losses(logits: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Return cross-entropy, dice loss and their sum, "loss", of logits (b, S, S) against masks (b, S, S) of 0 and 1."""
    masks = masks.to(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, masks)
    p, truth = logits.sigmoid().flatten(1), masks.flatten(1)
    dice = (1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)).mean()
    return {"loss": entropy + dice, "entropy": entropy, "dice": dice}


def cosine_adamw(
    parameters: Iterable[torch.nn.Parameter], learning_rate: float, weight_decay: float, steps: int
) -> dict[str, Any]:
    """Return AdamW, decay on everything, with a rate that falls to 0 along a cosine, as Lightning takes them."""
    optimizer = torch.optim.AdamW(list(parameters), lr=learning_rate, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
