"""Masked attention along a support axis: keys and values exist only for the support tokens that a mask keeps.

Every query position attends by itself to the support tokens of its row (EMAT, section "masked attention", and CST;
emat.md §3.2, §3.3): `softmax(q·k) v` per head, without a 1/√e scale. Removing the dropped tokens equals filling their
logits with -∞, so all back ends give the same numbers.

Shapes: B samples (episodes x ways), D = heads x e channels, T query positions, Td queries of a position (downscaled
support tokens), Ts support tokens, M of them kept, C input channels.
"""

import math
import os
from collections.abc import Iterator
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsbench.base.errors import SettingsError, known_names

Backend = Literal["reference", "packed", "filled"]

PACKED_CHUNK = 2**19
"""Size of the largest array in a chunk of the packed path on the CPU, usually the attention weights: 2 MB in fp32, so
that it stays in cache."""
CUDA_CHUNK = 2**25
"""Size of the largest array in a chunk of the packed path on a GPU: 128 MB in fp32, enough to keep it busy."""
SAFE_EXPONENT = 86.0
"""Logits to the base 2 that are nowhere larger than this are exponentiated as they are: sums of their exponentials
neither overflow nor vanish in fp32."""


def chosen_backend(backend: str | None = None) -> str:
    """Return the implementation that `masked_attention` uses for the argument `backend`; None chooses the default."""
    if torch.compiler.is_exporting():  # no step may depend on a mask's values
        return "filled"
    return backend or os.environ.get("FSBENCH_ATTENTION") or "packed"


def masked_attention(
    q: Tensor,
    x: Tensor | tuple[Tensor, Tensor],
    weight: Tensor,
    bias: Tensor,
    keep: Tensor,
    heads: int,
    backend: Backend | None = None,
    overwrite: bool = False,
) -> Tensor:
    """Attend from queries to the support tokens that lie under a mask, at each of T query positions.

    Args:
        q: (B, D, T, Td) queries: at each of T query positions Td queries of D channels.
        x: (B, C, T, Ts) support tokens, Ts at each query position, that become keys and values; or the factors of a
            correlation `query @ support.mT`, query (B or 1, C, T, c) and support (B, C, Ts, c), of which "packed"
            computes the kept tokens alone.
        weight: (2D, C) projection to keys (first D rows) and values.
        bias: (2D,) bias of the projection.
        keep: (B, Ts) bool; tokens that are False get no key and no value. A sample without kept tokens yields zeros.
        heads: number of heads; divides D.
        backend: "reference" (a loop over samples that stores all attention weights), "packed" (each sample's kept
            tokens alone, in chunks of query positions; weights recomputed in the backward pass) or "filled" (dropped
            tokens' logits are -∞, in which no step depends on a mask's values). Default: `$FSBENCH_ATTENTION`, else
            "packed"; "filled" in a graph that is exported.
        overwrite: whether "packed" may write the result into `q` if no gradient is needed.

    Returns:
        Attended values (B, D, T, Td), in the dtype of `q` (the autocast dtype where autocast is on).

    Peak memory beyond inputs, output and gradients, on the layers of EMAT and CST: some ten arrays of a chunk's size
    for "packed" (20 MB in fp32, on a GPU 1.3 GB); some 8·T·Td·M per sample, for all samples at once, for "reference".
    """
    chosen = chosen_backend(backend)
    if chosen == "packed":
        left, *right = x if isinstance(x, tuple) else (x,)
        q, weight, bias, left, *right = autocast_arguments(q, weight, bias, left, *right)
        given = q, left, right[0] if right else None, weight, bias, keep, heads
        with torch.autocast(q.device.type, enabled=False):
            if not torch.is_grad_enabled():
                return _attend_packed(*given, out=q if overwrite else _empty_like(q))
            return cast(Tensor, _Packed.apply(*given))
    if isinstance(x, tuple):
        x = x[0] @ x[1].mT
    if chosen == "reference":
        return _reference(q, x, weight, bias, keep, heads)
    if chosen == "filled":
        return _attend_filled(q, x, weight, bias, keep, heads)
    names = known_names(chosen, get_args(Backend))
    raise SettingsError(f"unknown masked-attention back end '{chosen}'{names}")


def autocast_arguments(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Convert tensors to autocast's dtype if autocast is on for their device; otherwise return them unchanged."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(t.to(torch.get_autocast_dtype(device)) for t in tensors)


def _reference(q: Tensor, x: Tensor, weight: Tensor, bias: Tensor, keep: Tensor, heads: int) -> Tensor:
    """Attend by the paper's definition: project all tokens, remove the dropped ones, one sample at a time."""
    outputs = []
    for sample in range(len(q)):
        kv = F.conv2d(x[sample, None], weight[:, :, None, None], bias)[0][..., keep[sample]]
        k, v = rearrange(kv, "(two h e) t m -> two h e t m", two=2, h=heads)
        query = rearrange(q[sample], "(h e) t d -> h e t d", h=heads).to(k.dtype)
        attention = torch.einsum("hetd,hetm->htdm", query, k).softmax(-1)
        output = torch.einsum("htdm,hetm->hetd", attention.to(v.dtype), v)
        outputs.append(rearrange(output, "h e t d -> (h e) t d"))
    return torch.stack(outputs)


def _attend_filled(q: Tensor, x: Tensor, weight: Tensor, bias: Tensor, keep: Tensor, heads: int) -> Tensor:
    """Attend with the logits of dropped tokens at -∞; a sample that keeps none yields zeros."""
    kv = F.conv2d(x, weight[:, :, None, None], bias)
    k, v = rearrange(kv, "b (two h e) t m -> two b h t e m", two=2, h=heads)
    query = rearrange(q, "b (h e) t d -> b h t d e", h=heads).to(k.dtype)
    dropped = ~keep[:, None, None, None]
    weights = (query @ k).masked_fill(dropped, -torch.inf).softmax(-1).masked_fill(dropped, 0)
    return rearrange(weights.to(v.dtype) @ v.mT, "b h t d e -> b (h e) t d")


def _attend_packed(
    q: Tensor, left: Tensor, right: Tensor | None, weight: Tensor, bias: Tensor, keep: Tensor, heads: int, out: Tensor
) -> Tensor:
    """Attend sample by sample in chunks of query positions, into `out`, which may be `q`.

    The logits are (positions x heads, M, Td), so that both products of matrices run along Td without a copy. Weights
    stay unnormalized: their sums come from a row of ones beside the values.
    """
    for sample in (~keep.any(1)).nonzero()[:, 0].tolist():
        out[sample] = 0  # nothing to attend to
    room = q.new_empty(0)
    for source, rows in _chunks(q, left, right, keep):
        query = _by_position(q[source.sample, :, rows], heads)
        k, v = _project(source.tokens(rows), weight, bias, heads)
        v = F.pad(v, (0, 0, 0, 1), value=1.0)
        is_safe = _is_safe(query, k)
        answer = torch.empty_like(query)
        for part in _parts(query, k, heads):
            sums = torch.bmm(v[part], _exponentials(query[part], k[part], is_safe, room))
            torch.div(sums[:, :-1], sums[:, -1:], out=answer[part])
        _in_place(out[source.sample, :, rows], heads).copy_(answer.unflatten(0, (-1, heads)))
    return out


class _Packed(torch.autograd.Function):
    """`_attend_packed`; saves only its inputs and output."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, left: Tensor, right: Tensor | None, weight: Tensor, bias: Tensor, keep: Tensor, heads: int
    ) -> Tensor:
        out = _attend_packed(q, left, right, weight, bias, keep, heads, _empty_like(q))
        ctx.save_for_backward(q, left, right, weight, bias, keep, out)
        ctx.heads = heads
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return _Packed._backward(ctx, grad)

    @staticmethod
    def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, left, right, weight, bias, keep, out = ctx.saved_tensors
        heads = ctx.heads
        grad_q = torch.zeros_like(q)
        grad_left = torch.zeros_like(left) if ctx.needs_input_grad[1] else None
        grad_right = torch.zeros_like(right) if right is not None and ctx.needs_input_grad[2] else None
        # sums over thousands of chunks, so never in half precision
        grad_weight, grad_bias = (torch.zeros_like(t, dtype=wide_type(t)) for t in (weight, bias))
        room, other = q.new_empty(0), q.new_empty(0)
        for source, rows in _chunks(q, left, right, keep):
            query, g, o = (_by_position(t[source.sample, :, rows], heads) for t in (q, grad, out))
            tokens = source.tokens(rows)
            k, v = _project(tokens, weight, bias, heads)
            grad_query, pair = torch.empty_like(query), torch.stack([k, v])  # the second is overwritten
            is_safe = _is_safe(query, k)
            for part in _parts(query, k, heads):
                attention = _exponentials(query[part], k[part], is_safe, room)
                scaled = g[part] / attention.sum(1, keepdim=True)  # as if the weights had been divided
                grad_logits = _product(v[part].mT, scaled, other)
                torch.bmm(scaled, attention.mT, out=pair[1, part])
                grad_logits -= (scaled * o[part]).sum(1, keepdim=True)  # the sum of grad_logits * attention over m
                grad_logits *= attention
                torch.bmm(k[part], grad_logits, out=grad_query[part])
                torch.bmm(query[part], grad_logits.mT, out=pair[0, part])
            grad_query *= 1 / _key_scale(k)
            _in_place(grad_q[source.sample, :, rows], heads).copy_(grad_query.unflatten(0, (-1, heads)))
            grad_kv = rearrange(pair, "two (t h) e m -> (two h e) (t m)", h=heads)
            grad_weight += grad_kv @ rearrange(tokens, "c t m -> (t m) c")
            grad_bias += grad_kv.sum(1, dtype=grad_bias.dtype)
            if grad_left is not None or grad_right is not None:
                source.add_gradients((weight.T @ grad_kv).view_as(tokens), rows, grad_left, grad_right)
        return grad_q, grad_left, grad_right, grad_weight.to(weight.dtype), grad_bias.to(bias.dtype), None, None


class _KeptTokens:
    """The kept tokens (C, T, M) of a sample, taken from all tokens or computed from the factors of a correlation.

    Args:
        left, right: tokens (B, C, T, Ts) and None, or a correlation's query (B or 1, C, T, c) and support
            (B, C, Ts, c).
        sample: which of B.
        kept: indices of its tokens.
        every: all tokens are kept.
    """

    def __init__(self, left: Tensor, right: Tensor | None, sample: int, kept: Tensor, every: bool):
        self.sample, self.row = sample, sample if len(left) > 1 else 0
        self.left = left[self.row]
        self.kept: Tensor | slice = slice(None) if every else kept
        self.right = None if right is None else right[sample][:, self.kept]

    def tokens(self, rows: slice) -> Tensor:
        """Return the tokens (C, t, M) of the query positions `rows`."""
        if self.right is None:
            return self.left[:, rows][..., self.kept]
        return torch.bmm(self.left[:, rows], self.right.mT)

    def add_gradients(self, grad: Tensor, rows: slice, left: Tensor | None, right: Tensor | None) -> None:
        """Add the gradient (C, t, M) of `tokens(rows)` to those of the tensors that they come from."""
        if self.right is None:
            if left is not None:
                left[self.sample, :, rows, self.kept] = grad
            return
        if left is not None:
            left[self.row, :, rows] += torch.bmm(grad, self.right)
        if right is not None:
            right[self.sample, :, self.kept] += torch.bmm(grad.mT, self.left[:, rows])


def _chunks(q: Tensor, left: Tensor, right: Tensor | None, keep: Tensor) -> Iterator[tuple[_KeptTokens, slice]]:
    """Yield kept tokens of a sample and query positions, so few that tokens, and keys with values, fit."""
    widest = max(2 * q.shape[1], left.shape[1])
    for sample, row in enumerate(keep):
        kept = row.nonzero()[:, 0]
        if not len(kept):
            continue
        source = _KeptTokens(left, right, sample, kept, len(kept) == len(row))
        step = max(1, _chunk(q) // (widest * len(kept)))
        for start in range(0, q.shape[2], step):
            yield source, slice(start, start + step)


def _chunk(x: Tensor) -> int:
    return CUDA_CHUNK if x.is_cuda else PACKED_CHUNK


def _parts(query: Tensor, k: Tensor, heads: int) -> Iterator[slice]:
    """Yield parts of a chunk (t x heads, ·, ·), so small that the attention weights fit."""
    step = heads * max(1, _chunk(query) // (heads * query.shape[2] * k.shape[2]))
    for start in range(0, len(query), step):
        yield slice(start, start + step)


def _empty_like(q: Tensor) -> Tensor:
    return torch.empty_like(q, memory_format=torch.contiguous_format)


def _in_place(x: Tensor, heads: int) -> Tensor:
    """View (D, t, Td) as (t, heads, e, Td)."""
    return rearrange(x, "(h e) t d -> t h e d", h=heads)


def _by_position(x: Tensor, heads: int) -> Tensor:
    """Return (D, t, Td) as (t x heads, e, Td)."""
    return _in_place(x, heads).flatten(0, 1)


def _project(tokens: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Project tokens (C, t, M) to keys times `_key_scale` and to values, (t x heads, e, M) each."""
    scale = weight.new_ones(len(weight), 1)
    scale[: len(weight) // 2] = _key_scale(weight)
    flat = tokens.reshape(len(tokens), -1)
    kv = torch.addmm(bias[:, None] * scale, weight * scale, flat).view(-1, *tokens.shape[1:])
    k, v = rearrange(kv, "(two h e) t m -> two (t h) e m", two=2, h=heads)
    return k, v


def _key_scale(like: Tensor) -> float:
    """Return what keys are multiplied with: logits to the base 2, whose exponential takes about half the time.

    Half precision takes a softmax, which knows only the base e.
    """
    return math.log2(math.e) if wide_type(like) == like.dtype else 1.0


def _product(left: Tensor, right: Tensor, room: Tensor) -> Tensor:
    """Return `torch.bmm(left, right)`, written into `room`, which grows if it must: fresh memory is slow."""
    shape = len(left), left.shape[1], right.shape[2]
    if room.numel() < math.prod(shape):
        room.resize_(math.prod(shape))
    return torch.bmm(left, right, out=room[: math.prod(shape)].view(shape))


def _is_safe(query: Tensor, k: Tensor) -> bool:
    """Whether no logit of queries (·, e, Td) and keys (·, e, M) can be as large as `SAFE_EXPONENT`."""
    bound = query.square().sum(1).max() * k.square().sum(1).max()  # of the squares, by Cauchy and Schwarz
    return float(bound) < SAFE_EXPONENT**2


def _exponentials(query: Tensor, k: Tensor, is_safe: bool, room: Tensor) -> Tensor:
    """Return attention weights (t x heads, M, Td) that are not divided by their sums over M.

    The largest logit of each query is taken off only where logits can be so large that it matters. In half precision
    they are divided, which keeps them in range. They lie in `room`.
    """
    logits = _product(k.mT, query, room)
    if wide_type(logits) != logits.dtype:
        return logits.softmax(1, dtype=wide_type(logits)).to(logits.dtype)
    if not is_safe:
        logits -= logits.amax(1, keepdim=True)
    return logits.exp2_()


def wide_type(tensor: Tensor) -> torch.dtype:
    """Return float32, or the tensor's dtype if that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)
