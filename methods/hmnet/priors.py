"""HMNet's training-free priors: how similar a query's deep features are to the support's objects (hmnet.md §3, §4).

Shapes: b samples, K shots, c channels, h' backbone side, S feature side.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fsbench.methods.modules.maps import masked_mean, resize


@dataclass
class Priors:
    """Priors of one level of features (§4).

    Attributes:
        fg, bg: normalised similarity to the supports' foreground and background (b, K, S, S).
        corr: their difference, at least 0 (b, K, S, S).
        fg_max, corr_max: largest raw similarity and largest difference (b, K).
    """

    fg: Tensor
    bg: Tensor
    corr: Tensor
    fg_max: Tensor
    corr_max: Tensor


def prior_maps(query: Tensor, support: Tensor, masks: Tensor) -> Priors:
    """Compare a level's features with the prototypes of the supports, in fp32: half precision would overflow.

    Args:
        query: (b, c, h', h').
        support: (b, K, c, S, S).
        masks: (b, K, 1, S, S).
    """
    side = support.shape[-1]
    query, support, masks = query.float(), support.float(), masks.float()
    flat, weights = support.flatten(0, 1), masks.flatten(0, 1)
    similarities = []
    for mask in (weights, 1 - weights):
        prototype = masked_mean(flat, mask).view(*support.shape[:2], -1)
        products = torch.einsum("bkc,bchw->bkhw", prototype, query)
        norms = prototype.norm(dim=2)[..., None, None] * query.norm(dim=1)[:, None]
        similarities.append(products / (norms + 1e-7))
    fg, bg = (resize(_normalize(similarity), side) for similarity in similarities)
    corr = (fg - bg).clamp(min=0)
    return Priors(fg, bg, corr, similarities[0].amax((2, 3)), corr.amax((2, 3)))


def _normalize(x: Tensor) -> Tensor:
    """Scale each map to [0, 1]."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return (x - low) / (high - low + 1e-7)


def best_priors(levels: list[Priors]) -> Tensor:
    """Take for each shot the level with the largest response (the earlier on ties) and average over shots.

    Returns:
        (b, 2, S, S): similarity to the foreground, and its difference to that to the background.
    """
    fg, corr, fg_max, corr_max = levels[0].fg, levels[0].corr, levels[0].fg_max, levels[0].corr_max
    for level in levels[1:]:
        fg = torch.where((fg_max < level.fg_max)[..., None, None], level.fg, fg)
        corr = torch.where((corr_max < level.corr_max)[..., None, None], level.corr, corr)
        fg_max, corr_max = torch.maximum(fg_max, level.fg_max), torch.maximum(corr_max, level.corr_max)
    return torch.stack([fg.mean(1), corr.mean(1)], 1)
