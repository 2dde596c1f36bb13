"""EMAT's first convolution of the correlation, which is computed a few query tokens at a time and never stored.

The convolution has kernel and stride (2, 2) along the support's y and x, so it is a sum of four linear maps, one for
each parity of (y, x). The correlation with the support tokens of one parity is a product of matrices whose result needs
no copy before the next product (emat.md §2, §3.3).

Shapes: B samples, C correlation channels, T query tokens, c channels of a ViT head, Ts support tokens, O output
channels, Td downscaled tokens, with the class token if there is one.
"""

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsbench.networks.ops.masked_attention import autocast_arguments

CHUNK = 2**21
"""Numbers of the correlation that exist at once on the CPU: 8 MB in fp32, which stay in its cache."""
CUDA_CHUNK = 2**25
"""Numbers of the correlation that exist at once on a GPU: 128 MB in fp32, enough to keep it busy."""


def halve_correlation(
    query: Tensor, support: Tensor, weights: list[Tensor], biases: list[Tensor], class_weights: list[Tensor]
) -> list[Tensor]:
    """Convolve the correlation `query @ support.mT` with stride 2 along the support's y and x, by several 2x2 kernels.

    Args:
        query: (B, C, T, c), or (1, C, T, c) for all samples; gets no gradient.
        support: (B, C, Ts, c), of a square grid whose odd last row and column are left out; the class token first if
            there are `class_weights`; gets no gradient.
        weights: weight (O, C, 2, 2) of each kernel.
        biases: bias (O, Td) of each kernel, a column for each downscaled token.
        class_weights: linear map (O, C) of the class token, for each kernel; empty if there is no class token.

    Returns:
        Result (B, O, T, Td) of each kernel, in the autocast dtype where autocast is on. The backward pass computes the
        correlation again.
    """
    start = int(bool(class_weights))
    side = round((support.shape[2] - start) ** 0.5)
    grid = rearrange(support[:, :, start:], "b c (y x) k -> b c y x k", y=side)[:, :, : side // 2 * 2, : side // 2 * 2]
    parities = rearrange(grid, "b c (y i) (x j) k -> b (i j) c k (y x)", i=2, j=2)
    if class_weights:
        parities = torch.cat([torch.zeros_like(parities[..., :1]), parities], -1)  # the class token's place
    joint = [rearrange(weight, "o c i j -> o (i j c)") for weight in weights]
    given = autocast_arguments(query, parities, support[:, :, :1].mT, *joint, *biases, *class_weights)
    with torch.autocast(query.device.type, enabled=False):
        return list(cast(tuple[Tensor, ...], _Halved.apply(len(weights), *given)))


class _Halved(torch.autograd.Function):
    """Products of the correlation's chunks with the weights; saves its inputs.

    Arguments: number of kernels; query; (B, 4, C, c, Td) support by parity; (B, C, c, 1) first token of the support;
    (O, 4C) weights, then biases, then weights of the class token or none.
    """

    @staticmethod
    def forward(ctx: Any, kernels: int, query: Tensor, parities: Tensor, first: Tensor, *maps: Tensor) -> Any:
        ctx.save_for_backward(query, parities, first, *maps)
        ctx.kernels = kernels
        weight, bias, *class_weight = (
            torch.cat(maps[start : start + kernels]) for start in range(0, len(maps), kernels)
        )
        shape = query.shape[2], parities.shape[-1]
        outs = [query.new_empty(len(parities), len(one), *shape) for one in maps[:kernels]]
        room = query.new_empty(0)
        for sample, rows, x, of_class in _correlations(query, parities, first):
            joint = _shaped(room, len(weight), *x.shape[1:])
            torch.mm(weight, x, out=joint)
            joint = joint.unflatten(1, (-1, shape[1]))
            if class_weight:
                joint[..., 0] = class_weight[0] @ of_class
            parts = (t.split([out.shape[1] for out in outs]) for t in (joint, bias[:, None]))
            for out, part, part_bias in zip(outs, *parts, strict=True):
                torch.add(part, part_bias, out=out[sample, :, rows])
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, parities, first, *maps = ctx.saved_tensors
        # sums over many chunks, so never in half precision
        sums = [torch.zeros_like(t, dtype=torch.promote_types(t.dtype, torch.float32)) for t in maps]
        with torch.autocast(query.device.type, enabled=False):
            for sample, rows, x, of_class in _correlations(query, parities, first):
                for index, grad in enumerate(grads):
                    weight, bias, *class_weight = sums[index :: ctx.kernels]
                    part = grad[sample, :, rows]
                    weight += part.flatten(1) @ x.mT
                    bias += part.sum(1, dtype=bias.dtype)
                    if class_weight:
                        class_weight[0] += part[..., 0] @ of_class.mT
        return (None, None, None, None, *(total.to(t.dtype) for total, t in zip(sums, maps, strict=True)))


def _correlations(query: Tensor, parities: Tensor, first: Tensor) -> Iterator[tuple[int, slice, Tensor, Tensor]]:
    """Yield the correlation in chunks of some query tokens of one sample.

    Args:
        query: (B, C, T, c), or (1, C, T, c) for all samples.
        parities: (B, 4, C, c, Td) support by parity.
        first: (B, C, c, 1) first token of the support.

    Yields:
        The sample, its t query tokens, their products (4C, t x Td) with the support, which hold until the next chunk is
        asked for, and (C, t) with the first token.
    """
    room = query.new_empty(0)
    for sample, rows in _chunks(query, parities):
        left = query[sample if len(query) > 1 else 0][:, rows]
        yield sample, rows, _correlate(left, parities[sample], room), torch.bmm(left, first[sample])[..., 0]


def _chunks(query: Tensor, parities: Tensor) -> list[tuple[int, slice]]:
    """Return samples and query tokens whose correlation has no more numbers than may exist at once."""
    step = max(1, (CUDA_CHUNK if query.is_cuda else CHUNK) // parities[0, ..., 0, :].numel())
    return [(b, slice(start, start + step)) for b in range(len(parities)) for start in range(0, query.shape[2], step)]


def _correlate(left: Tensor, parities: Tensor, room: Tensor) -> Tensor:
    """Return products (4C, t x Td) of query tokens (C, t, c) and the support of each parity (4, C, c, Td).

    They are written into `room`.
    """
    x = _shaped(room, *parities.shape[:2], left.shape[1], parities.shape[-1])
    for parity, support in enumerate(parities):
        torch.bmm(left, support, out=x[parity])
    return x.view(-1, x.shape[2] * x.shape[3])


def _shaped(room: Tensor, *shape: int) -> Tensor:
    """Return the first numbers of `room` in this shape; it grows if it must: fresh memory is slow."""
    if room.numel() < math.prod(shape):
        room.resize_(math.prod(shape))
    return room[: math.prod(shape)].view(shape)
