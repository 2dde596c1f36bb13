"""GroupNorm and ReLU of activations that are kept as planes, with their gradients.

Shapes: B samples, S support positions, C channels, P query positions, G groups; as in `support_planes`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from fsbench.networks.ops.support_planes import PlaneWindows, from_planes, to_planes


class GroupNormReLU(nn.GroupNorm):
    """GroupNorm over the channels of 4-D correlation activations, followed by ReLU.

    Activations may be constant outside of a window of support positions (`PlaneWindows`). The constant is then
    normalised once, and counts in mean and variance once for each position outside of the window.
    """

    def forward(self, x: Tensor | PlaneWindows) -> Tensor | PlaneWindows:  # type: ignore[override]
        """Normalise activations (B, C, hq, wq, hs, ws), or those of windows of support positions, and apply ReLU.

        The result has the type and shape of the input.
        """
        if isinstance(x, Tensor) and torch.compiler.is_exporting():
            return self.reference(x)
        if isinstance(x, PlaneWindows):
            samples = enumerate(zip(x.windows, x.rest, strict=True))
            pairs = [self._norm(window[None], rest[None], x.outside(i)) for i, (window, rest) in samples]
            windows, rest = [y[0] for y, _ in pairs], [r[0] for _, r in pairs]
            return PlaneWindows(windows, x.corners, rest, x.support_plane)
        planes = to_planes(x)
        return from_planes(self._norm(planes, planes.new_zeros(planes.shape[0], planes.shape[3]), 0)[0])

    def _norm(self, planes: Tensor, rest: Tensor, outside: int) -> tuple[Tensor, Tensor]:
        """Return planes (B, hs, ws, C, hq, wq) and `rest` (B, C) after norm and ReLU, under autocast in float32."""
        dtypes = planes.dtype, rest.dtype
        wide = torch.promote_types(planes.dtype, torch.float32)
        flat = planes.to(wide).flatten(4).flatten(1, 2)
        y, rest = _NormReLU.apply(flat, rest.to(wide), outside, self.weight, self.bias, self.num_groups, self.eps)
        y = y.view(planes.shape)
        return (y, rest) if torch.is_autocast_enabled(planes.device.type) else (y.to(dtypes[0]), rest.to(dtypes[1]))

    def reference(self, x: Tensor) -> Tensor:
        """Compute GroupNorm and ReLU of activations (B, C, hq, wq, hs, ws) by their definition, for tests."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps).relu_()


class _NormReLU(torch.autograd.Function):
    """Norm and ReLU of (B, S, C, P), and of (B, C) that stands for `outside` further support positions."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, rest: Tensor, outside: int, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> tuple[Tensor, Tensor]:
        batch, support, channels, query = x.shape
        split = (batch * support, channels, query, groups, eps)
        mean_of, rstd_of = torch.native_group_norm(x.flatten(0, 1), None, None, *split)[1:]
        mean_of, rstd_of = (_widest(s).view(batch, support, groups) for s in (mean_of, rstd_of))
        apart = _widest(rest).unflatten(1, (groups, -1))
        numbers, weight_of_rest = query * channels // groups, query * outside
        total = numbers * (support + outside)
        mean = (numbers * mean_of.sum(1) + weight_of_rest * apart.sum(2)) / total
        inside = ((rstd_of**-2 - eps).clamp(min=0) + (mean_of - mean[:, None]) ** 2).sum(1)
        variance = (numbers * inside + weight_of_rest * ((apart - mean[..., None]) ** 2).sum(2)) / total
        rstd = (variance + eps).rsqrt()
        scale, offset = _per_channel(weight, bias, mean, rstd, x.dtype)
        y = torch.addcmul(offset[:, None, :, None], x, scale[:, None, :, None]).relu_()
        rest_after = torch.addcmul(offset, rest, scale).relu_()
        ctx.save_for_backward(x, rest, y, rest_after, weight, bias, mean, rstd)
        ctx.sizes = (groups, total, weight_of_rest)  # type: ignore[attr-defined]  # as torch documents it
        return y, rest_after

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, rest, y, rest_after, weight, bias, mean, rstd = ctx.saved_tensors
        groups, total, weight_of_rest = ctx.sizes
        gate = torch.ops.aten.threshold_backward
        dy, d_rest = gate(gradients[0], y, 0), gate(gradients[1], rest_after, 0)
        sums = _widest(dy.sum((1, 3)) + d_rest)  # (B, C), of the gradient, and of its product with the input below
        products = _widest((dy * x).sum((1, 3)) + d_rest * rest)
        per_channel = _spread_to_channels(mean, weight), _spread_to_channels(rstd, weight)
        d_weight = ((products - per_channel[0] * sums) * per_channel[1]).sum(0)
        weighted = [(_widest(weight) * s).unflatten(1, (groups, -1)).sum(2) for s in (sums, products)]
        slope = (weighted[0] * mean - weighted[1]) * rstd**3 / total
        level = -slope * mean - weighted[0] * rstd / total
        scale, _ = _per_channel(weight, bias, mean, rstd, x.dtype)
        slope, level = (_spread_to_channels(v, weight).to(x.dtype) for v in (slope, level))
        dx = torch.addcmul(level[:, None, :, None], x, slope[:, None, :, None])
        dx.addcmul_(dy, scale[:, None, :, None])
        d_rest = d_rest * scale + weight_of_rest * (slope * rest + level)
        return dx, d_rest, None, d_weight.to(weight.dtype), sums.sum(0).to(bias.dtype), None, None


def _widest(x: Tensor) -> Tensor:
    """Return numbers in float64, or in float32 on an Apple GPU, which has no wider type."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def _spread_to_channels(values: Tensor, weight: Tensor) -> Tensor:
    """Return values of groups (B, G) as values of channels (B, C)."""
    return values.repeat_interleave(len(weight) // values.shape[1], 1)


def _per_channel(weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return factor and summand (B, C) of the normalisation."""
    scale = weight * _spread_to_channels(rstd, weight)
    return scale.to(dtype), (bias - scale * _spread_to_channels(mean, weight)).to(dtype)
