"""SANSA's loss, order of training images and number of steps (sansa.md §6).

Shapes: b videos, T frames, (h, w) an image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import NumericsError

ALPHA = 0.25
"""Weight of the foreground in the focal loss; the background has the rest of 1."""


def losses_by_video(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the focal and the dice loss (2, b) of each video; those whose logits hold a NaN are left out.

    The pixels of a video's frames count together.

    Args:
        logits: (b, T, h, w).
        masks: (b, T, h, w) of 0 and 1.
    """
    x, y = logits.flatten(1).float(), masks.flatten(1).float()
    usable = ~x.isnan().any(1)
    x, y = x[usable], y[usable]
    p = x.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    p_true = torch.where(y > 0, p, 1 - p)
    weight = torch.where(y > 0, ALPHA, 1 - ALPHA)
    focal = (weight * entropy * (1 - p_true) ** 2).mean(1)
    dice = 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)
    return torch.stack([focal, dice])


def mean_losses(losses: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of focal and dice losses (2, b).

    Raises:
        NumericsError: there is none.
    """
    if not losses.shape[1]:
        raise NumericsError(
            "every episode of the batch has a NaN among its logits; expected numbers; lower the learning rate, or "
            "train in float32 (--trainer.precision 32-true)"
        )
    focal, dice = losses.mean(1)
    return focal, dice


def official_order(images: int, epoch: int, processes: int, rank: int) -> list[int]:
    """Return the numbers of the training images of a process in an epoch, as the authors' sampler gives them.

    A permutation seeded by the epoch is filled up from its beginning to a multiple of the processes; each takes a
    block of it. What the authors' workers draw for an image cannot be repeated.

    Args:
        images: number of all training images.
        epoch: from 0.
        processes: their number.
        rank: of the process.
    """
    order = torch.randperm(images, generator=torch.Generator().manual_seed(epoch)).tolist()
    share = -(-images // processes)
    order += order[: share * processes - images]
    return list(order[rank * share : (rank + 1) * share])


def official_steps(images: int, batch: int, processes: int) -> int:
    """Return the optimiser steps of an epoch: whole batches, which the processes share."""
    return -(-images // processes) // (batch // processes)
