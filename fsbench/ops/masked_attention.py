"""Masked attention along a support axis: keys and values exist only for the support tokens that a mask keeps.

Every query position attends by itself to the support tokens of its row (EMAT, section "masked attention", and CST;
emat.md §3.2, §3.3): `softmax(q·k) v` per head, without a 1/√e scale. Removing the dropped tokens equals filling their
logits with -∞, so all back ends give the same numbers.

Shapes: B samples (episodes x ways), D = heads x e channels, T query positions, Td queries of a position (downscaled
support tokens), Ts support tokens, M of them kept, C input channels.
"""

import os
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from fsbench.errors import SettingsError

Backend = Literal["reference", "packed", "fused"]

PACKED_CHUNK = 2**21
"""Size of the largest array in a chunk of the packed path, usually the attention weights: 8 MB in fp32, so that it
stays in cache."""
FUSED_CHUNK = 2**26
"""Size of the largest array in a chunk of the fused path: 256 MB in fp32."""
HEAD_ALIGNMENT = 8
"""Multiple of channels of a head that every fused kernel takes; missing ones are filled with zeros."""


def masked_attention(
    q: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    keep: Tensor,
    heads: int,
    backend: Backend | None = None,
) -> Tensor:
    """Attend from `q` to the kept support tokens of `x`.

    Args:
        q: (B, D, T, Td) queries.
        x: (B, C, T, Ts) tokens that become keys and values.
        weight: (2D, C) projection to keys (first D rows) and values.
        bias: (2D,) its bias.
        keep: (B, Ts) bool; tokens that are False get no key and no value. A sample that keeps none yields zeros.
        heads: number of heads; divides D.
        backend: "reference" (a loop over samples that stores all attention weights), "packed" (each sample's kept
            tokens alone, in chunks of query positions; weights recomputed in the backward pass) or "fused" (padded to
            the longest sample, one fused kernel per chunk). Default: `$FSBENCH_ATTENTION`, else "fused" on CUDA and
            "packed" elsewhere.

    Returns:
        (B, D, T, Td), dtype of `q` (the autocast dtype where autocast is on).

    Peak memory beyond inputs, output and gradients, measured on the layers of EMAT and CST: 6 x `PACKED_CHUNK` numbers
    for "packed" (48 MB in fp32); 8 x `FUSED_CHUNK` for "fused" where torch has no fused kernel for the device, less
    where it has one; some 8·T·Td·M per sample, for all samples at once, for "reference".
    """
    chosen = backend or os.environ.get("FSBENCH_ATTENTION") or ("fused" if q.is_cuda else "packed")
    if chosen == "reference":
        return _reference(q, x, weight, bias, keep, heads)
    if chosen == "packed":
        arguments = _autocast(q, x, weight, bias)
        with torch.autocast(q.device.type, enabled=False):
            return cast(Tensor, _Packed.apply(*arguments, keep, heads))
    if chosen == "fused":
        return _fused(q, x, weight, bias, keep, heads)
    raise SettingsError(f"unknown masked-attention back end '{chosen}'; there are reference, packed, fused")


def _autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Convert tensors to the autocast dtype where autocast is on."""
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


class _Packed(torch.autograd.Function):
    """Attend sample by sample in chunks of query positions; saves only its inputs and output."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, x: Tensor, weight: Tensor, bias: Tensor, keep: Tensor, heads: int) -> Tensor:
        out = torch.zeros_like(q, memory_format=torch.contiguous_format)
        for sample, kept, rows in _chunks(q, x, keep, heads):
            tokens = x[sample, :, rows][..., kept]
            k, v = _project(tokens, weight, bias, heads)
            query = rearrange(q[sample, :, rows], "(h e) t d -> h e t d", h=heads)
            attention = _weights(query, k)
            out[sample, :, rows] = rearrange(torch.einsum("htdm,hetm->hetd", attention, v), "h e t d -> (h e) t d")
        ctx.save_for_backward(q, x, weight, bias, keep, out)
        ctx.heads = heads
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return _Packed._backward(ctx, grad)

    @staticmethod
    def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, x, weight, bias, keep, out = ctx.saved_tensors
        heads = ctx.heads
        grad_q = torch.zeros_like(q)
        grad_x = torch.zeros_like(x) if ctx.needs_input_grad[1] else None
        # sums over thousands of chunks, so never in half precision
        grad_weight, grad_bias = (torch.zeros_like(t, dtype=_at_least_single(t)) for t in (weight, bias))
        for sample, kept, rows in _chunks(q, x, keep, heads):
            tokens = x[sample, :, rows][..., kept]
            k, v = _project(tokens, weight, bias, heads)
            query = rearrange(q[sample, :, rows], "(h e) t d -> h e t d", h=heads)
            g, o = (rearrange(t[sample, :, rows], "(h e) t d -> h e t d", h=heads) for t in (grad, out))
            attention = _weights(query, k)
            grad_v = torch.einsum("htdm,hetd->hetm", attention, g)
            grad_logits = torch.einsum("hetd,hetm->htdm", g, v)
            grad_logits -= (g * o).sum(1)[..., None]  # equals the sum of grad_logits * attention over m
            grad_logits *= attention
            grad_k = torch.einsum("htdm,hetd->hetm", grad_logits, query)
            grad_query = torch.einsum("htdm,hetm->hetd", grad_logits, k)
            grad_q[sample, :, rows] = rearrange(grad_query, "h e t d -> (h e) t d")
            grad_kv = rearrange(torch.stack([grad_k, grad_v]), "two h e t m -> (two h e) (t m)")
            grad_weight += grad_kv @ rearrange(tokens, "c t m -> (t m) c")
            grad_bias += grad_kv.sum(1, dtype=grad_bias.dtype)
            if grad_x is not None:
                grad_tokens = (weight.T @ grad_kv).view_as(tokens)
                grad_x[sample, :, rows, kept] = grad_tokens
        return grad_q, grad_x, grad_weight.to(weight.dtype), grad_bias.to(bias.dtype), None, None


def _chunks(q: Tensor, x: Tensor, keep: Tensor, heads: int) -> list[tuple[int, Tensor | slice, slice]]:
    """Return chunks (sample, its kept tokens, query positions) whose tokens, keys with values, and weights fit."""
    channels, positions, queries = q.shape[1:]
    widest = max(heads * queries, 2 * channels, x.shape[1])
    chunks: list[tuple[int, Tensor | slice, slice]] = []
    for sample, row in enumerate(keep):
        kept = row.nonzero()[:, 0]
        if not len(kept):
            continue
        step = max(1, PACKED_CHUNK // (widest * len(kept)))
        index = slice(None) if len(kept) == len(row) else kept
        chunks += [(sample, index, slice(start, start + step)) for start in range(0, positions, step)]
    return chunks


def _project(tokens: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Project tokens (C, T, M) to keys and values (2, heads, e, T, M)."""
    kv = torch.addmm(bias[:, None], weight, tokens.reshape(len(tokens), -1))
    return kv.view(2, heads, -1, *tokens.shape[1:])


def _weights(query: Tensor, k: Tensor) -> Tensor:
    """Return attention weights (heads, T, Td, M); softmax in fp32 or wider."""
    logits = torch.einsum("hetd,hetm->htdm", query, k)
    return logits.softmax(-1, dtype=_at_least_single(logits)).to(logits.dtype)


def _at_least_single(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _fused(q: Tensor, x: Tensor, weight: Tensor, bias: Tensor, keep: Tensor, heads: int) -> Tensor:
    """Attend with `scaled_dot_product_attention` in chunks of query positions; kept tokens first, samples padded.

    While training each chunk is recomputed in the backward pass, so that keys and values are stored for one at a time.
    """
    longest = max(1, int(keep.sum(1).max()))
    order = torch.sort(keep, dim=1, descending=True, stable=True).indices[:, :longest]
    padded = ~keep.gather(1, order)
    bias_rows = torch.zeros(padded.shape, dtype=q.dtype, device=q.device).masked_fill_(padded, -torch.inf)
    nothing = ~keep.any(1)
    bias_rows[nothing] = 0  # a softmax over nothing is undefined; the rows are zeroed below

    def attend(query: Tensor, tokens: Tensor) -> Tensor:
        kept = tokens.gather(3, order[:, None, None].expand(-1, *tokens.shape[1:3], -1))
        kv = F.conv2d(kept, weight[:, :, None, None], bias)
        k, v = rearrange(kv, "b (two h e) t m -> two b t h m e", two=2, h=heads)
        query = rearrange(query, "b (h e) t d -> b t h d e", h=heads).to(k.dtype)
        additive = bias_rows.to(k.dtype).repeat_interleave(query.shape[1], 0)[:, None, None]  # broadcast over h, d
        query, k, v = (F.pad(rearrange(t, "b t h n e -> (b t) h n e"), (0, filling)) for t in (query, k, v))
        out = F.scaled_dot_product_attention(query, k, v, attn_mask=additive, scale=1.0)[..., :width]
        return rearrange(out, "(b t) h d e -> b (h e) t d", b=len(kept))

    width = q.shape[1] // heads
    filling = -width % HEAD_ALIGNMENT
    widest = max(heads * q.shape[3], 2 * heads * (width + filling), x.shape[1])
    step = max(1, FUSED_CHUNK // (len(q) * longest * widest))
    training = torch.is_grad_enabled() and any(t.requires_grad for t in (q, x, weight, bias))
    pieces = []
    for start in range(0, q.shape[2], step):
        arguments = q[:, :, start : start + step], x[:, :, start : start + step]
        pieces.append(checkpoint(attend, *arguments, use_reentrant=False) if training else attend(*arguments))
    out = torch.cat(pieces, 2)
    return out.masked_fill(nothing[:, None, None, None], 0) if bool(nothing.any()) else out
