"""Attention whose values are one number per key: a weighted average of a support mask for every query position.

`mean over heads of softmax(q k / sqrt(d)) m` (DCAMA, section 3.2; dcama.md §5). With so narrow a value the attention
weights are all the memory there is; the fast paths never hold more than a chunk of them.

Shapes: B samples (episodes x layers), C = heads x d channels, T query positions, Ts support tokens.
"""

import os
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsbench.base.errors import SettingsError, known_names
from fsbench.networks.ops.masked_attention import wide_type

Backend = Literal["reference", "chunked", "fused"]

CHUNK = 2**18
"""Number of attention weights in a chunk on the CPU: 1 MB in fp32, so that they stay in cache."""
CUDA_CHUNK = 2**26
"""Number of attention weights in a chunk on a GPU: 256 MB in fp32."""
VALUE_WIDTH = 8
"""Channels to which the value's single one is padded for fused kernels."""


def chosen_backend(device: torch.device) -> str:
    """Return the name of the implementation that `mask_value_attention` uses on `device`.

    The name is the value of the environment variable `FSBENCH_MASK_ATTENTION` or, if it is not set, "fused" on CUDA and
    "chunked" elsewhere; while a graph is exported it is "reference", which consists of plain operators.
    """
    if torch.compiler.is_exporting():
        return "reference"
    return os.environ.get("FSBENCH_MASK_ATTENTION") or ("fused" if device.type == "cuda" else "chunked")


def mask_value_attention(
    q: Tensor, k: Tensor, value: Tensor, heads: int, dropout: float = 0.0, backend: Backend | None = None
) -> Tensor:
    """Average a support mask by the attention of query tokens to support tokens, mean over heads.

    Args:
        q: (B, C, T) queries of T query tokens; the C channels are grouped by head.
        k: (B, C, Ts) keys of Ts support tokens.
        value: (B, Ts) mask values of the support tokens, which are averaged.
        heads: number of heads; divides C.
        dropout: probability of dropping an attention weight (the others grow by 1 / (1 - dropout)); "chunked" and
            "reference" drop the same weights for the same state of torch's CPU generator.
        backend: "reference" (all weights of a sample at once), "chunked" (chunks of query positions; recomputed in the
            backward pass) or "fused" (`scaled_dot_product_attention`). None takes `$FSBENCH_MASK_ATTENTION`, else
            "fused" on CUDA and "chunked" elsewhere.

    Returns:
        Averages (B, T), in the dtype of `q` (the autocast dtype where autocast is on).
    """
    chosen = backend or chosen_backend(q.device)
    known = ("reference", "chunked", "fused")
    if chosen not in known:
        raise SettingsError(f"unknown mask-value attention '{chosen}'{known_names(chosen, known)}")
    q, k, value = _of_one_dtype(q, k, value)
    with torch.autocast(q.device.type, enabled=False):
        if chosen == "fused":
            return _average_fused(q, k, value, heads, dropout)
        seed = int(torch.randint(2**48, ())) if dropout else 0
        if chosen == "chunked":
            return cast(Tensor, _Chunked.apply(q, k, value, heads, dropout, seed))
        return _reference(q, k, value, heads, dropout, seed)


class PartialAverage(NamedTuple):
    """Attention-weighted averages over a part of the keys, which can be joined with those over other parts.

    Attributes:
        value: averages (B, heads, T) for T query tokens.
        mass: logarithms of the sums of the exponentials of all logits (B, heads, T).
    """

    value: Tensor
    mass: Tensor

    def join(self, other: "PartialAverage") -> "PartialAverage":
        """Return the averages over the keys of this part and of `other` together."""
        share = (other.mass - self.mass).sigmoid()
        return PartialAverage(torch.lerp(self.value, other.value, share), torch.logaddexp(self.mass, other.mass))


@torch.no_grad()
def partial_average(q: Tensor, k: Tensor, value: Tensor, heads: int) -> PartialAverage:
    """Average mask values by attention to a part of the keys, in chunks, without gradient.

    Results for several parts of the keys can be joined; the mean over heads of all is what `mask_value_attention`
    returns for all keys.

    Args:
        q: (B, C, T) queries, channels first, head-major.
        k: (B, C, Ts) keys of this part.
        value: (B, Ts) mask values to average.
        heads: number of heads; divides C.
    """
    q, k, value = _of_one_dtype(q, k, value)
    with torch.autocast(q.device.type, enabled=False):
        query, mass = _by_head(q, heads) * (q.shape[1] // heads) ** -0.5, _values(value, heads)
        masses = torch.empty(query.shape[:2], dtype=mass.dtype, device=q.device)
        averages = _averages(query, _by_head(k, heads), mass, masses=masses)
    return PartialAverage(*(t.view(len(q), heads, -1) for t in (averages, masses)))


def _of_one_dtype(q: Tensor, k: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the arguments in autocast's dtype where that is on, the values otherwise in that of the queries."""
    if torch.is_autocast_enabled(q.device.type):
        q, k = (t.to(torch.get_autocast_dtype(q.device.type)) for t in (q, k))
    return q, k, value.to(q.dtype)


def attention_weights(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """Return the attention weights (B, heads, T, Ts) of `q` (B, C, T) and `k` (B, C, Ts); softmax in fp32 or wider."""
    query, key = (rearrange(t, "b (h d) t -> b h d t", h=heads) for t in (q, k))
    logits = query.mT @ key * query.shape[2] ** -0.5
    return logits.softmax(-1, dtype=wide_type(logits)).to(logits.dtype)


def _reference(q: Tensor, k: Tensor, value: Tensor, heads: int, dropout: float, seed: int) -> Tensor:
    """Compute the average by its definition, one sample at a time."""
    weights_of = [attention_weights(q[s, None], k[s, None], heads)[0] for s in range(len(q))]
    if dropout:
        kept = torch.empty(len(q) * heads, q.shape[2], k.shape[2], dtype=q.dtype, device=q.device)
        for group, rows in _chunks(kept):
            kept[group, rows] = _dropout_factors(kept[group, rows], dropout, seed, group, rows)
        weights_of = [w * keep for w, keep in zip(weights_of, kept.split(heads), strict=True)]
    return torch.stack([(weights @ v).mean(0) for weights, v in zip(weights_of, value, strict=True)])


def _chunks(weights: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield chunks of weights (B·heads, T, Ts) within the bound: (samples and heads, query positions).

    A chunk is some heads with all their positions, or one head with some of them.
    """
    groups, positions, tokens = weights.shape
    bound = CUDA_CHUNK if weights.is_cuda else CHUNK
    step = max(1, bound // (positions * tokens))
    rows = min(positions, max(1, bound // tokens))
    for group in range(0, groups, step):
        for start in range(0, positions, rows):
            yield slice(group, min(group + step, groups)), slice(start, min(start + rows, positions))


def _dropout_factors(weights: Tensor, dropout: float, seed: int, group: slice, rows: slice) -> Tensor:
    """Return the dropout factors of a chunk's weights, 0 or 1 / (1 - dropout), from the seed and the place alone."""
    generator = torch.Generator(weights.device).manual_seed(seed + (group.start << 16) + rows.start)
    if dropout != 0.5:
        kept = torch.empty(weights.shape, dtype=weights.dtype, device=weights.device)
        return kept.bernoulli_(1 - dropout, generator=generator).div_(1 - dropout)
    # A random bit is a fair coin: ten times as fast as drawing a number for each weight.
    bits = torch.empty(-(-weights.numel() // 64), dtype=torch.int64, device=weights.device)
    bits.random_(-(2**63), None, generator=generator)
    factors = F.embedding(bits.view(torch.uint8).int(), _byte_factors(weights.dtype, weights.device))
    return factors.view(-1)[: weights.numel()].view(weights.shape)


@cache
def _byte_factors(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the bits of every byte, times 2, (256, 8)."""
    byte = torch.arange(256, device=device)[:, None]
    return ((byte >> torch.arange(8, device=device)) & 1).to(dtype) * 2


def _averages(
    query: Tensor, key: Tensor, mass: Tensor, dropout: float = 0.0, seed: int = 0, masses: Tensor | None = None
) -> Tensor:
    """Return the averages (B·heads, T) of values `mass` (B·heads, Ts), by scaled queries and keys of `_by_head`.

    Into `masses` (B·heads, T) go the logarithms of the sums of the logits' exponentials.
    """
    averages = torch.empty(query.shape[:2], dtype=mass.dtype, device=query.device)
    for group, rows in _chunks(_shape(query, key)):
        logits = torch.bmm(query[group, rows], key[group].mT)
        weights = logits.softmax(-1, dtype=mass.dtype)
        if masses is not None:  # a weight is exp(logit - mass), and the largest one is never 0
            masses[group, rows] = logits.amax(-1) - weights.amax(-1).log()
        if dropout:
            weights *= _dropout_factors(weights, dropout, seed, group, rows)
        averages[group, rows] = torch.bmm(weights, mass[group, :, None])[..., 0]
    return averages


class _Chunked(torch.autograd.Function):
    """Average in chunks; saves its inputs, and one number per head and query position: the average."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, value: Tensor, heads: int, dropout: float, seed: int) -> Tensor:
        query, key, mass = _by_head(q, heads), _by_head(k, heads), _values(value, heads)
        averages = _averages(query * (q.shape[1] // heads) ** -0.5, key, mass, dropout, seed)
        ctx.save_for_backward(q, k, value, averages)
        ctx.settings = (heads, dropout, seed)
        return averages.view(len(q), heads, -1).mean(1).to(q.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return _Chunked._backward(ctx, grad)

    @staticmethod
    def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, value, averages = ctx.saved_tensors
        heads, dropout, seed = ctx.settings
        query, key, mass = _by_head(q, heads), _by_head(k, heads), _values(value, heads)
        scale = (q.shape[1] // heads) ** -0.5
        query = query * scale
        wide = averages.dtype
        grad = (grad.to(wide) / heads).repeat_interleave(heads, 0)
        grad_q, grad_k = torch.empty_like(query), torch.zeros_like(key, dtype=wide)
        grad_mass = torch.zeros_like(mass) if ctx.needs_input_grad[2] else None
        for group, rows in _chunks(_shape(query, key)):
            weights = torch.bmm(query[group, rows], key[group].mT).softmax(-1, dtype=wide)
            spread = mass[group, None]
            if dropout:
                kept = _dropout_factors(weights, dropout, seed, group, rows)
                if grad_mass is not None:
                    grad_mass[group] += torch.bmm(grad[group, None, rows], weights * kept)[:, 0]
                spread = kept.mul_(spread)
            elif grad_mass is not None:
                grad_mass[group] += torch.bmm(grad[group, None, rows], weights)[:, 0]
            # d average / d logit of a token: its weight times (its value - the average)
            weights.mul_(spread - averages[group, rows, None]).mul_(grad[group, rows, None])
            weights = weights.to(q.dtype)
            grad_q[group, rows] = torch.bmm(weights, key[group])
            grad_k[group] += torch.bmm(weights.mT, query[group, rows])
        back = "(b h) t d -> b (h d) t"
        return (
            rearrange(grad_q.mul_(scale), back, h=heads),
            rearrange(grad_k.to(k.dtype), back, h=heads),
            None if grad_mass is None else grad_mass.view(len(q), heads, -1).sum(1).to(value.dtype),
            None,
            None,
            None,
        )


def _shape(query: Tensor, key: Tensor) -> Tensor:
    """Return a tensor of the shape of all weights that takes no memory."""
    return query.new_empty(()).expand(len(query), query.shape[1], key.shape[1])


def _values(value: Tensor, heads: int) -> Tensor:
    """Repeat values (B, Ts) for every head, (B·heads, Ts), in fp32 or wider."""
    return value.to(wide_type(value)).repeat_interleave(heads, 0)


def _by_head(x: Tensor, heads: int) -> Tensor:
    """Rearrange (B, C, T) to (B·heads, T, d), each head's matrix contiguous."""
    return rearrange(x, "b (h d) t -> (b h) t d", h=heads).contiguous()


def _average_fused(q: Tensor, k: Tensor, value: Tensor, heads: int, dropout: float) -> Tensor:
    """Average with one fused kernel, the value padded to `VALUE_WIDTH` channels."""
    query, key = (_by_head(t, heads).unflatten(0, (len(q), heads)) for t in (q, k))
    narrow = F.pad(value[:, None, :, None], (0, VALUE_WIDTH - 1)).expand(-1, heads, -1, -1).contiguous()
    return F.scaled_dot_product_attention(query, key, narrow, dropout_p=dropout)[..., 0].mean(1)
