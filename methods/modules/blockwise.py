"""The steps after the attention of a layer of CST and EMAT, in blocks of tokens that stay in the processor's cache.

Group norms need the moments of all tokens before the first is normalized. So every norm costs one more pass, in which
what leads to it is computed again: no array of the size of a layer exists besides the two that are given (emat.md §3.2
to §3.4). A norm beside a 1x1 convolution is part of the convolution's weights. For evaluation on a CPU; gradients and
GPUs take the modules themselves.

Shapes: C channels of the layer, D hidden channels, T query tokens, Td support tokens of the layer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

BLOCK = 2**16
"""Numbers of a block of the layer's output: 256 KiB in fp32."""


def finish_layer(
    short: Tensor, attended: Tensor, norm: nn.GroupNorm, agg: nn.Sequential, out: nn.GroupNorm, ff: nn.Sequential,
    ff_out: nn.GroupNorm,
) -> Tensor:  # fmt: skip
    """Return `ff_out(y + ff(y))` of `y = out(relu(norm(short)) + agg(attended))`, in the place of `short`.

    Args:
        short: (1, C, T, Td), the residual path before its norm; contiguous.
        attended: (1, D, T, Td), the attention's output; contiguous.
        norm: of the residual path.
        agg: norm, ReLU, 1x1 convolution without bias, norm, ReLU.
        out: norm of the sum.
        ff: 1x1 convolution without bias, norm, ReLU, 1x1 convolution without bias.
        ff_out: norm of the feed-forward's sum.
    """
    x, a = short[0].flatten(1), attended[0].flatten(1)
    step = max(1, BLOCK // len(x))
    blocks = [slice(start, start + step) for start in range(0, x.shape[1], step)]
    grow, narrow, widen = (cast(nn.Conv2d, layer).weight[..., 0, 0] for layer in (agg[2], ff[0], ff[3]))

    attended_norm = _fit(agg[0], *_moments(a[:, part] for part in blocks))

    def active(part: slice) -> Tensor:
        return attended_norm(a[:, part]).relu_()

    grown = _fit(agg[3], *_moments_of_map(grow, map(active, blocks))).after(grow)
    short_norm = _fit(norm, *_moments(x[:, part] for part in blocks))

    def summed(part: slice) -> Tensor:
        return short_norm.replace(x[:, part]).relu_().add_(grown(active(part)).relu_())

    sum_norm = _fit(out, *_moments(map(summed, blocks)))
    narrowed = sum_norm.before(narrow)
    hidden = _fit(ff[1], *_moments(narrowed(x[:, part]) for part in blocks)).after(narrowed.weight, narrowed.bias)

    def widened(part: slice) -> Tensor:
        inner = hidden(x[:, part]).relu_()
        return sum_norm.replace(x[:, part]).addmm_(widen, inner)

    last_norm = _fit(ff_out, *_moments(map(widened, blocks)))
    for part in blocks:
        last_norm.replace(x[:, part])
    return short


@dataclass(frozen=True)
class _Map:
    """The map `weight @ block + bias` of blocks (channels, n)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, block: Tensor) -> Tensor:
        return torch.addmm(self.bias, self.weight, block)


@dataclass(frozen=True)
class _Norm:
    """The map `scale * block + shift` of blocks (channels, n) of one sample, by which a group norm normalizes them.

    Attributes:
        scale, shift: (channels, 1), at least fp32: in half precision what is far from zero would lose its digits.
    """

    scale: Tensor
    shift: Tensor

    def __call__(self, block: Tensor) -> Tensor:
        return (block * self.scale).add_(self.shift).to(block.dtype)

    def replace(self, block: Tensor) -> Tensor:
        """Normalize a block in its place."""
        if block.dtype == self.scale.dtype:
            return block.mul_(self.scale).add_(self.shift)
        return block.copy_(self(block))

    def after(self, weight: Tensor, bias: Tensor | None = None) -> _Map:
        """Return the norm of what a map yields as a map of what the map reads."""
        shift = self.shift if bias is None else self.scale * bias + self.shift
        return _Map((self.scale * weight).to(weight.dtype), shift.to(weight.dtype))

    def before(self, weight: Tensor) -> _Map:
        """Return a map of what is normalized as a map of what is not."""
        return _Map(
            (weight * self.scale.T).to(weight.dtype), (weight.to(self.shift.dtype) @ self.shift).to(weight.dtype)
        )


def _moments(blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each channel (channels,) of blocks (channels, n) together, in float64."""
    counts, means, squares = [], [], []
    for block in blocks:
        block = block.to(torch.promote_types(block.dtype, torch.float32))  # squares of fp16 overflow
        mean = block.sum(1, keepdim=True) / block.shape[1]
        counts.append(block.shape[1])
        means.append(mean[:, 0])
        squares.append(torch.linalg.vector_norm(block - mean, dim=1))  # about the block's own mean: no digits cancel
    count, by_block = sum(counts), torch.tensor(counts, dtype=torch.float64)
    means_of = torch.stack(means, 1).double()
    mean = means_of @ by_block / count
    spread = (means_of - mean[:, None]).square() @ by_block
    return mean, (spread + torch.stack(squares, 1).double().square().sum(1)) / count


def _moments_of_map(weight: Tensor, blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return `_moments` of `weight @ block`, from the products of the channels of blocks, whose means are not large."""
    count = 0
    total = torch.zeros(weight.shape[1], dtype=torch.float64)
    products = torch.zeros(weight.shape[1], weight.shape[1], dtype=torch.float64)
    for block in blocks:
        block = block.to(torch.promote_types(block.dtype, torch.float32))
        count += block.shape[1]
        total += block.sum(1)
        products += block @ block.T
    mean = total / count
    covariance = products / count - mean[:, None] * mean
    wide = weight.double()
    return wide @ mean, ((wide @ covariance) * wide).sum(1)


def _fit(norm: nn.Module, mean: Tensor, variance: Tensor) -> _Norm:
    """Return the map by which `norm` normalizes one sample, whose channels have this mean and variance (channels,)."""
    assert isinstance(norm, nn.GroupNorm)
    per_group = (norm.num_groups, -1)
    means = mean.unflatten(0, per_group)
    mean_of_group = means.mean(1, keepdim=True)
    spread = (means - mean_of_group).square() + variance.unflatten(0, per_group)
    deviation = (spread.mean(1, keepdim=True) + norm.eps).sqrt()
    scale = norm.weight.double().unflatten(0, per_group) / deviation
    shift = norm.bias.double().unflatten(0, per_group) - mean_of_group * scale
    dtype = torch.promote_types(norm.weight.dtype, torch.float32)
    return _Norm(*(t.to(dtype).flatten()[:, None] for t in (scale, shift)))
