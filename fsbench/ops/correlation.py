"""Correlation of query and support pixels: HSNet's hyper-correlation and 4-D convolution, PFENet's prior mask.

Sections are those of classical-baselines.md.

Shapes: B samples, L blocks of a scale, C channels of its features, D output channels, (hq, wq) and (hs, ws) the maps of
query and support.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

EPSILON = 1e-5


def hyper_correlation(query: Tensor, support: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the cosines of all pairs of query and support pixels, negative ones as 0 (§4.2).

    Args:
        query: (B, L, C, hq, wq) features.
        support: (B, L, C, hs, ws) features.
        mask: (B, S, S) support mask in [0, 1]; resized corner to corner and multiplied to the support's features.

    Returns:
        (B, L, hq, wq, hs, ws).
    """
    if mask is not None:
        resized = F.interpolate(mask[:, None].float(), support.shape[-2:], mode="bilinear", align_corners=True)
        support = support * resized[:, None]
    q, s = (_unit(rearrange(x, "b l c h w -> b l c (h w)")) for x in (query, support))
    cosines = (q.mT @ s).clamp_(min=0)
    return cosines.unflatten(3, support.shape[-2:]).unflatten(2, query.shape[-2:])


def _unit(x: Tensor) -> Tensor:
    return x / (x.norm(dim=2, keepdim=True) + EPSILON)


class CenterPivotConv4d(nn.Module):
    """4-D convolution with the two centre planes of its kernel, strided on the support side (§4.3).

    One 2-D convolution runs over the query's plane at the support positions 0, stride, 2·stride, …, the other over the
    support's plane, with that stride, at every query position; their sum is the output.

    Args:
        inner: C.
        outer: D.
        kernel: side of both kernels.
        stride: stride on the support's plane.
    """

    def __init__(self, inner: int, outer: int, kernel: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inner, outer, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(inner, outer, kernel, stride=stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, hq, wq, hs, ws) -> (B, D, hq, wq, ceil(hs / stride), ceil(ws / stride))."""
        pruned = x[..., :: self.stride, :: self.stride]
        planes = rearrange(pruned, "b c hq wq hs ws -> (b hs ws) c hq wq")
        over_query = rearrange(
            self.conv1(planes), "(b hs ws) d hq wq -> b d hq wq hs ws", hs=pruned.shape[4], ws=pruned.shape[5]
        )
        # One kernel of depth 1 over all query positions: no copy of the tensor, and two to three times as fast as a
        # batch of planes.
        step, padding = self.stride, self.conv2.padding[0]
        assert isinstance(padding, int)
        over_support = F.conv3d(
            x.flatten(2, 3),
            self.conv2.weight[:, :, None],
            self.conv2.bias,
            stride=(1, step, step),
            padding=(0, padding, padding),
        )
        return over_query + over_support.unflatten(2, x.shape[2:4])

    def reference(self, x: Tensor) -> Tensor:
        """Return the output of `forward` by the definition: 2-D convolutions of batches of planes."""
        pruned = x[..., :: self.stride, :: self.stride]
        results = []
        for conv, source, batch, plane in (
            (self.conv1, pruned, "b hs ws", "hq wq"),
            (self.conv2, x, "b hq wq", "hs ws"),
        ):
            sizes = dict(zip(["b", "c", "hq", "wq", "hs", "ws"], source.shape, strict=True))
            y = conv(rearrange(source, f"b c hq wq hs ws -> ({batch}) c {plane}"))
            known = {name: sizes[name] for name in batch.split()}
            results.append(rearrange(y, f"({batch}) d {plane} -> b d hq wq hs ws", **known))
        return results[0] + results[1]


@torch.no_grad()
def prior_mask(query: Tensor, support: Tensor, masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Return PFENet's training-free prior: each query pixel's largest similarity to a foreground pixel (§3).

    Args:
        query: (B, C, n, n) high-level features.
        support: (B, K, C, n, n) features of the supports, not masked.
        masks: (B, K, S, S) support masks in [0, 1].
        size: (H, W) of the result.

    Returns:
        (B, K, H, W), each shot's prior in [0, 1]; their mean is the prior of K shots.
    """
    side = support.shape[-2:]
    resized = F.interpolate(masks.float(), side, mode="bilinear", align_corners=True)
    s = rearrange(support * resized[:, :, None], "b k c h w -> b k c (h w)")
    q = rearrange(query, "b c h w -> b 1 c (h w)")
    norms = s.norm(dim=2)[..., None] * q.norm(dim=2)[:, :, None]
    similar = (s.mT @ q / (norms + 1e-7)).amax(2)
    low, high = similar.amin(2, keepdim=True), similar.amax(2, keepdim=True)
    prior = ((similar - low) / (high - low + 1e-7)).unflatten(2, query.shape[-2:])
    return F.interpolate(prior, size, mode="bilinear", align_corners=True)
