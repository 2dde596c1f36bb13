"""The steps after the attention of a layer of CST and EMAT, in blocks of tokens that stay in the processor's cache.

Group norms need the moments of all tokens before the first is normalized. So every norm costs one more pass, in which
what leads to it is computed again: no array of the size of a layer exists besides the two that are given (emat.md §3.2
to §3.4). For evaluation on a CPU; gradients and GPUs take the modules themselves.

Shapes: C channels of the layer, D hidden channels, T query tokens, Td support tokens of the layer.
"""

from collections.abc import Callable, Iterable
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

    attended_norm = _fit(agg[0], (a[:, part] for part in blocks))

    def grown(part: slice) -> Tensor:
        return grow @ attended_norm(a[:, part]).relu_()

    grown_norm = _fit(agg[3], map(grown, blocks))
    short_norm = _fit(norm, (x[:, part] for part in blocks))
    for part in blocks:
        x[:, part] = short_norm(x[:, part]).relu_().add_(grown_norm(grown(part)).relu_())
    sum_norm = _fit(out, (x[:, part] for part in blocks))
    hidden_norm = _fit(ff[1], (narrow @ sum_norm(x[:, part]) for part in blocks))
    for part in blocks:
        y = sum_norm(x[:, part])
        x[:, part] = y.addmm_(widen, hidden_norm(narrow @ y).relu_())
    last_norm = _fit(ff_out, (x[:, part] for part in blocks))
    for part in blocks:
        x[:, part] = last_norm(x[:, part])
    return short


def _fit(norm: nn.Module, blocks: Iterable[Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the map by which `norm` normalizes blocks (channels, n) of one sample, from the moments of all of them."""
    assert isinstance(norm, nn.GroupNorm)
    counts, means, squares = [], [], []
    for block in blocks:
        block = block.to(torch.promote_types(block.dtype, torch.float32))  # squares of fp16 overflow
        mean = block.mean(1, keepdim=True)
        counts.append(block.shape[1])
        means.append(mean[:, 0])
        squares.append((block - mean).square_().sum(1))  # about the block's own mean: no digits cancel
    count, by_block = sum(counts), torch.tensor(counts, dtype=torch.float64)
    means_of = torch.stack(means, 1).double().unflatten(0, (norm.num_groups, -1))
    mean_of_group = (means_of * by_block).sum((1, 2), keepdim=True) / (count * means_of.shape[1])
    spread = ((means_of - mean_of_group).square() * by_block).sum((1, 2))
    within = torch.stack(squares, 1).double().unflatten(0, (norm.num_groups, -1)).sum((1, 2))
    deviation = ((spread + within) / (count * means_of.shape[1]) + norm.eps).sqrt()[:, None]
    per_group = (norm.num_groups, -1)
    scale = norm.weight.double().unflatten(0, per_group) / deviation
    shift = norm.bias.double().unflatten(0, per_group) - mean_of_group[:, 0] * scale
    scale, shift = (t.to(means[0].dtype).flatten()[:, None] for t in (scale, shift))
    return lambda block: (block * scale).add_(shift).to(block.dtype)
