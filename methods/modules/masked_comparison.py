"""Comparison of a query with its supports in PFENet and BAM: features, prototypes and priors.

Sections are those of bam.md.

Shapes: b samples, K shots, C model width, (h, h) the map of layer3, H image side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fsbench.methods.modules.maps import masked_mean, resize, widened
from fsbench.methods.modules.pspnet import Features
from fsbench.networks.ops.correlation import prior_mask


@dataclass
class Comparison:
    """A query's reduced features, with prototypes of its supports and its similarity to them.

    Attributes:
        query: reduced features of the query (b, C, h, h).
        prototypes: means of the supports' features under their masks (b, K, C, 1, 1).
        priors: similarity of deep features to each support's foreground, from 0 to 1 within the image (b, K, h, h).
    """

    query: Tensor
    prototypes: Tensor
    priors: Tensor


def masked_layer4(support: Features, labels: Tensor, layer4: Callable[[Tensor], Tensor] | None) -> Features:
    """Return the supports' features with f3 replaced by layer4 of f2 times the mask (§2).

    Args:
        support: features (b·K, c, ·, ·), the K shots of an episode together.
        labels: support labels (b, K, H, W); 1 is foreground, anything else is not.
        layer4: the last layer of the frozen network; None if it cannot be computed alone: then f3 itself is multiplied
            by the mask.
    """
    masks = support_masks(labels, support.f2.shape[-1])
    if layer4 is None:
        assert support.f3 is not None
        return support._replace(f3=support.f3 * resize(masks, support.f3.shape[-1]))
    return support._replace(f3=layer4(support.f2 * masks))


def support_masks(labels: Tensor, side: int) -> Tensor:
    """Return soft masks (b·K, 1, side, side) of support labels (b, K, H, W) (§2)."""
    return resize((labels == 1).float().flatten(0, 1)[:, None], side)


def compare(
    query: Features, support: Features, labels: Tensor, down_query: nn.Module, down_supp: nn.Module
) -> Comparison:
    """Return a query's reduced features with prototypes of its supports and similarity maps to them (bam.md §2, §3).

    Args:
        query: features (b, c, ·, ·), f1 of the size of f2.
        support: features (b·K, c, ·, ·) as `masked_layer4` returns them, f1 of the size of f2.
        labels: support labels (b, K, H, W); 1 is foreground, anything else is not.
        down_query, down_supp: the layers that reduce f2 and f1 to C channels.
    """
    side, shots = query.f2.shape[-1], labels.shape[:2]
    masks = support_masks(labels, side)
    reduced = down_supp(torch.cat([support.f2, support.f1], 1))
    with torch.no_grad(), torch.autocast(query.f2.device.type, enabled=False):  # half precision would overflow
        deep, full = (widened(f.f3) for f in (query, support)), (labels == 1).float()
        query_deep, support_deep = deep
        priors = prior_mask(query_deep, support_deep.unflatten(0, shots), full, (side, side))
    query_map = down_query(torch.cat([query.f2, query.f1], 1))
    return Comparison(query_map, masked_mean(reduced, masks).unflatten(0, shots), priors)
