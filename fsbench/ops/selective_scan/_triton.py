"""The scan by Triton kernels: on CUDA, and with TRITON_INTERPRET=1 slowly anywhere."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsbench.errors import SettingsError

CHANNELS = 16
"""Channels of a tile."""
TOKENS = 64
"""Tokens of a tile, that is of a chunk."""


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """u, delta (b, D, L); A (D, N); B, C (b, G, N, L); D, bias (D,); state (b, D, N) -> y (b, D, L), last state."""
    if u.dtype == torch.float64:
        raise SettingsError("the scan back end triton computes in fp32, found float64; choose torch")
    return cast(tuple[Tensor, Tensor], _Scan.apply(u, delta, A.contiguous(), B, C, D, bias, softplus, state))


class _Sizes:
    """Numbers and launch grid that all kernels take."""

    def __init__(self, u: Tensor, A: Tensor, B: Tensor):
        self.b, self.channels, self.length = u.shape
        self.groups, self.states = B.shape[1:3]
        self.width = self.channels // self.groups
        self.tokens = min(TOKENS, max(16, 1 << (self.length - 1).bit_length()))
        self.tile = {"BD": min(CHANNELS, max(1, 1 << (self.width - 1).bit_length())), "BT": self.tokens}
        self.chunks = -(-self.length // self.tokens)
        self.blocks = -(-self.width // self.tile["BD"])
        self.grid = (self.chunks, self.groups * self.blocks, self.b)
        self.numbers = (self.length, self.width, self.channels, self.states, self.chunks)
        self.state_shape = (self.b, self.chunks, self.states, self.channels)

    def boundaries(
        self,
        values: Tensor,
        delta: Tensor,
        A: Tensor,
        vectors: Tensor,
        bias: Tensor | None,
        softplus: bool,
        first: Tensor,
        reverse: bool,
    ) -> tuple[Tensor, Tensor]:
        """States (b, chunks, N, D) before each chunk and (b, D, N) after the last, or gradients the other way round."""
        from fsbench.ops.selective_scan import _kernels as kernels

        sums = A.new_empty(self.b, self.chunks, self.channels)
        ends, entries = A.new_empty(self.state_shape), A.new_empty(self.state_shape)
        kernels.ends[self.grid](
            values, delta, A, vectors, bias, sums, ends, *self.numbers,
            *values.stride(), *delta.stride(), *vectors.stride(),
            HAS_BIAS=bias is not None, SOFTPLUS=softplus, REVERSE=reverse, **self.tile,
        )  # fmt: skip
        start = first.mT.contiguous()
        last = torch.empty_like(start)
        columns = 64
        kernels.chain[(-(-self.channels // columns), self.b)](
            sums, ends, A, start, entries, last, self.channels, self.states, self.chunks,
            REVERSE=reverse, BN=1 << (self.states - 1).bit_length(), BD=columns,
        )  # fmt: skip
        return entries, last.mT


class _Scan(torch.autograd.Function):
    """Saves its inputs and the state at the entry of each chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        bias: Tensor | None,
        softplus: bool,
        state: Tensor,
    ) -> tuple[Tensor, Tensor]:
        from fsbench.ops.selective_scan import _kernels as kernels

        s = _Sizes(u, A, B)
        entries, last = s.boundaries(u, delta, A, B, bias, softplus, state, reverse=False)
        y = A.new_empty(u.shape)
        kernels.scan[s.grid](
            u, delta, A, B, C, D, bias, entries, y, *s.numbers,
            *u.stride(), *delta.stride(), *B.stride(), *C.stride(),
            HAS_D=D is not None, HAS_BIAS=bias is not None, SOFTPLUS=softplus, **s.tile,
        )  # fmt: skip
        ctx.save_for_backward(u, delta, A, B, C, D, bias, entries)
        ctx.softplus = softplus
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        from fsbench.ops.selective_scan import _kernels as kernels

        u, delta, A, B, C, D, bias, entries = ctx.saved_tensors
        s = _Sizes(u, A, B)
        exits, grad_state = s.boundaries(grad, delta, A, C, bias, ctx.softplus, grad_last, reverse=True)
        grad_u, grad_delta = A.new_empty(u.shape), A.new_empty(u.shape)
        grad_A = A.new_empty(s.state_shape)
        grad_B, grad_C = (A.new_empty(s.blocks, s.b, s.groups, s.states, s.length) for _ in range(2))
        grad_D, grad_bias = (None if t is None else A.new_empty(s.b, s.chunks, s.channels) for t in (D, bias))
        kernels.backward[s.grid](
            u, delta, A, B, C, D, bias, grad, entries, exits,
            grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias, *s.numbers, s.groups,
            *u.stride(), *delta.stride(), *B.stride(), *C.stride(), *grad.stride(),
            HAS_D=D is not None, HAS_BIAS=bias is not None, SOFTPLUS=ctx.softplus, **s.tile,
        )  # fmt: skip
        sums = (None if t is None else t.sum((0, 1)) for t in (grad_D, grad_bias))
        per_token = (grad_u.to(u.dtype), grad_delta.to(u.dtype))
        per_group = (t.sum(0).to(u.dtype) for t in (grad_B, grad_C))
        return *per_token, grad_A.sum((0, 1)).mT, *per_group, *sums, None, grad_state
