"""Correlation of query and support pixels: HSNet's hyper-correlation, by its definition, and PFENet's prior mask.

Sections are those of classical-baselines.md.

Shapes: B samples, L blocks of a scale, C channels of its features, (hq, wq) and (hs, ws) the maps of query and support.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from fsbench.networks.ops.kept_correlation import EPSILON, resize_mask, unit


def hyper_correlation(query: Tensor, support: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the cosines of all pairs of query and support pixels, negative ones as 0 (§4.2).

    `KeptCorrelation` holds the same cosines without those that the mask makes 0.

    Args:
        query: (B, L, C, hq, wq) features of B queries from L backbone blocks.
        support: (B, L, C, hs, ws) features of their supports.
        mask: (B, S, S) support mask in [0, 1]; it is resized with aligned corners and multiplied with the support's
            features. None for no mask.

    Returns:
        Cosines (B, L, hq, wq, hs, ws).
    """
    return unit_correlation(unit(query), unit(support if mask is None else masked(support, mask)))


def masked(support: Tensor, mask: Tensor) -> Tensor:
    """Multiply features (B, L, C, hs, ws) by a mask (B, S, S) in [0, 1], resized with aligned corners (§4.2)."""
    return support * resize_mask(mask, (support.shape[-2], support.shape[-1]))[:, None, None]


def unit_correlation(query: Tensor, support: Tensor) -> Tensor:
    """Return the products of all pairs of query and support pixels, negative ones as 0, for features of unit length.

    `query` is (B, L, C, hq, wq), `support` (B, L, C, hs, ws); the result is (B, L, hq, wq, hs, ws).
    """
    cosines = (query.flatten(3).mT @ support.flatten(3)).clamp(min=0)
    return cosines.unflatten(3, support.shape[-2:]).unflatten(2, query.shape[-2:])


def reference(query: Tensor, support: Tensor) -> Tensor:
    """Return the cosines of all pairs of query and support pixels, negative ones as 0, by the plain formula, for tests.

    `query` is (B, L, C, hq, wq), `support` (B, L, C, hs, ws); the result is (B, L, hq, wq, hs, ws).
    """
    q, s = (x / (x.norm(dim=2, keepdim=True) + EPSILON) for x in (query, support))
    return F.relu(torch.einsum("blchw,blcyx->blhwyx", q, s))


@torch.no_grad()
def prior_mask(query: Tensor, support: Tensor, masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Return PFENet's training-free prior: each query pixel's largest similarity to a foreground pixel (§3).

    Args:
        query: (B, C, n, n) high-level features of B queries.
        support: (B, K, C, n, n) features of their K supports each, not masked.
        masks: (B, K, S, S) support masks in [0, 1].
        size: (H, W) of the result.

    Returns:
        (B, K, H, W), each shot's prior in [0, 1]; their mean is the prior of K shots.
    """
    resized = F.interpolate(masks.float(), support.shape[-2:], mode="bilinear", align_corners=True)
    similar = largest_cosine(query, support * resized[:, :, None])
    low, high = similar.amin((2, 3), keepdim=True), similar.amax((2, 3), keepdim=True)
    prior = (similar - low) / (high - low + 1e-7)
    return F.interpolate(prior, size, mode="bilinear", align_corners=True)


@torch.no_grad()
def largest_cosine(query: Tensor, support: Tensor) -> Tensor:
    """Return each query pixel's largest cosine with a pixel of each support; a support pixel of zeros counts as 0.

    Args:
        query: features (B, C, n, n).
        support: features of K supports (B, K, C, n, n), already multiplied by their masks.

    Returns:
        Largest cosines (B, K, n, n).
    """
    s = rearrange(support, "b k c h w -> b k c (h w)")
    q = rearrange(query, "b c h w -> b 1 c (h w)")
    norms = s.norm(dim=2)[..., None] * q.norm(dim=2)[:, :, None]
    return (s.mT @ q / (norms + 1e-7)).amax(2).unflatten(2, query.shape[-2:])
