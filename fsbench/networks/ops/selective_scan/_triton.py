"""Selective scan and interception by Triton kernels: on CUDA, and with TRITON_INTERPRET=1 slowly anywhere (§6 of
selective-scan).

Triton is optional, so this file is imported where it is chosen.
"""

from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsbench.networks.ops.selective_scan import _triton_kernels as kernels

CHANNELS = 16
"""Channels of a tile."""
TOKENS = 64
"""Tokens of a tile, which is a chunk."""
COLUMNS = 64
"""Channels of a program of the kernel `chain`."""


def launch(kernel: Any, grid: tuple[int, ...], first: Tensor, *arguments: Any, **constants: Any) -> None:
    """Launch a Triton kernel on the device of its first argument.

    Triton itself launches on the current device, so that tensors of `cuda:1` could reach a kernel on `cuda:0`.

    Args:
        kernel: function decorated by `triton.jit`.
        grid: number of programs along each axis.
        first: first argument of the kernel, a tensor.
        arguments: further arguments of the kernel.
        constants: `constexpr` arguments of the kernel.
    """
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        kernel[grid](first, *arguments, **constants)


class _Launch:
    """Sizes and launch grid that the kernels share."""

    def __init__(self, u: Tensor, A: Tensor, B: Tensor, window: int):
        self.b, self.channels, self.length = u.shape
        self.groups, self.states = B.shape[1:3]
        width = self.channels // self.groups
        tokens = min(TOKENS, max(16, _power_of_two(window)))
        self.tile = {"BD": min(CHANNELS, _power_of_two(width)), "BT": tokens}
        self.per_window = -(-window // tokens)
        self.windows = self.length // window
        self.chunks = self.windows * self.per_window
        self.blocks = -(-width // self.tile["BD"])
        self.grid = (self.chunks, self.groups * self.blocks, self.b)
        self.numbers = (self.length, window, width, self.channels, self.states, self.chunks)
        self.empty = A.new_empty

    def allocate_states(self, *positions: int) -> Tensor:
        """Allocate states (b, *positions, N, D)."""
        return self.empty(self.b, *positions, self.states, self.channels)

    def boundaries(
        self,
        values: Tensor,
        delta: Tensor,
        A: Tensor,
        vectors: Tensor,
        bias: Tensor | None,
        softplus: bool,
        start: Tensor,
        recap: tuple[Tensor | None, ...],
        reverse: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return the states before each chunk (b, chunks, N, D) and after the last one (b, N, D).

        Args:
            values, delta, A, vectors, bias, softplus: see the kernel `ends`.
            start: state before the first chunk (b, N, D).
            recap: decay, offset, exits, and gradients of decay and offset; see the kernel `chain`.
            reverse: return gradients instead, from the last chunk to the first.
        """
        sums = self.empty(self.b, self.chunks, self.channels)
        ends, entries, last = (
            self.allocate_states(self.chunks),
            self.allocate_states(self.chunks),
            self.allocate_states(),
        )
        launch(
            kernels.ends, self.grid, values, delta, A, vectors, bias, sums, ends, *self.numbers,
            *values.stride(), *delta.stride(), *vectors.stride(),
            HAS_BIAS=bias is not None, SOFTPLUS=softplus, REVERSE=reverse, **self.tile,
        )  # fmt: skip
        launch(
            kernels.chain, (-(-self.channels // COLUMNS), self.b), sums, ends, A, start, entries, last, *recap,
            self.channels, self.states, self.chunks, self.per_window,
            RECAP=recap[0] is not None, REVERSE=reverse, BN=_power_of_two(self.states), BD=COLUMNS,
        )  # fmt: skip
        return entries, last


class Scan(torch.autograd.Function):
    """Selective scan by Triton kernels in fp32, as an autograd function with the arguments of `_reference.scan`.

    For the backward pass it saves its inputs, the states at the start of each chunk and, if the state is changed
    between windows, the states at the ends of windows.
    """

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
        window: int,
        decay: Tensor | None,
        offset: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        A = A.contiguous()
        D, bias = (None if t is None else t.contiguous() for t in (D, bias))  # the kernels step through these by 1
        x = _Launch(u, A, B, window)
        decay, offset, start = (None if t is None else t.mT.contiguous() for t in (decay, offset, state))
        exits = None if decay is None else x.allocate_states(x.windows)
        recap = (decay, offset, exits, None, None)
        entries, last = x.boundaries(u, delta, A, B, bias, softplus, cast(Tensor, start), recap, reverse=False)
        y = A.new_empty(u.shape)
        launch(
            kernels.scan, x.grid, u, delta, A, B, C, D, bias, entries, y, *x.numbers,
            *u.stride(), *delta.stride(), *B.stride(), *C.stride(),
            HAS_D=D is not None, HAS_BIAS=bias is not None, SOFTPLUS=softplus, **x.tile,
        )  # fmt: skip
        ctx.save_for_backward(u, delta, A, B, C, D, bias, entries, decay, offset, exits)
        ctx.softplus, ctx.window = softplus, window
        return y, last.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, A, B, C, D, bias, entries, decay, offset, exits = ctx.saved_tensors
        x = _Launch(u, A, B, ctx.window)
        map_gradients = [None if t is None else torch.empty_like(t) for t in (decay, offset)]
        start = grad_last.mT.contiguous()
        recap = (decay, offset, exits, *map_gradients)
        leaving, grad_state = x.boundaries(grad, delta, A, C, bias, ctx.softplus, start, recap, reverse=True)
        grad_u, grad_delta = A.new_empty(u.shape), A.new_empty(u.shape)
        grad_A = x.allocate_states(x.chunks)
        grad_B, grad_C = (A.new_empty(x.blocks, x.b, x.groups, x.states, x.length) for _ in range(2))
        grad_D, grad_bias = (None if t is None else A.new_empty(x.b, x.chunks, x.channels) for t in (D, bias))
        launch(
            kernels.backward, x.grid, u, delta, A, B, C, D, bias, grad, entries, leaving,
            grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias, *x.numbers, x.groups,
            *u.stride(), *delta.stride(), *B.stride(), *C.stride(), *grad.stride(),
            HAS_D=D is not None, HAS_BIAS=bias is not None, SOFTPLUS=ctx.softplus, **x.tile,
        )  # fmt: skip
        per_channel = (None if t is None else t.sum((0, 1)) for t in (grad_D, grad_bias))
        per_group = (
            t.sum(0).to(source.dtype) for t, source in ((grad_B, B), (grad_C, C))
        )  # fixed ones are wider than u
        maps = (None if t is None else t.mT for t in map_gradients)
        per_token = (grad_u.to(u.dtype), grad_delta.to(u.dtype))
        return *per_token, grad_A.sum((0, 1)).mT, *per_group, *per_channel, None, grad_state.mT, None, *maps


def _power_of_two(number: int) -> int:
    """Return the smallest power of two that is not below `number`."""
    return 1 << (number - 1).bit_length()


class Interception(torch.autograd.Function):
    """Reading of a scan's state by every token, by Triton kernels in fp32, as an autograd function.

    See `fsbench.networks.ops.selective_scan.interception.intercept`.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, step: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> Tensor:
        arguments = [t.contiguous() for t in (u, step, A, B, C, state)]
        y = torch.empty_like(arguments[0])
        launch(kernels.read, _grid(u), *arguments, y, *_sizes(u, A), BD=CHANNELS, BT=TOKENS)
        ctx.save_for_backward(*arguments)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        u, step, A, B, C, state = ctx.saved_tensors
        grid = _grid(u)
        grad_u, grad_step = torch.empty_like(u), torch.empty_like(u)
        grad_A, grad_state = (A.new_empty(len(u), grid[0], *A.mT.shape) for _ in range(2))
        grad_B, grad_C = (B.new_empty(grid[1], *B.shape) for _ in range(2))
        launch(
            kernels.read_backward, grid, u, step, A, B, C, state, grad.contiguous(), grad_u, grad_step,
            grad_A, grad_B, grad_C, grad_state, *_sizes(u, A), BD=CHANNELS, BT=TOKENS,
        )  # fmt: skip
        return grad_u, grad_step, grad_A.sum((0, 1)).mT, grad_B.sum(0), grad_C.sum(0), grad_state.sum(1).mT


def _grid(u: Tensor) -> tuple[int, int, int]:
    return -(-u.shape[2] // TOKENS), -(-u.shape[1] // CHANNELS), len(u)


def _sizes(u: Tensor, A: Tensor) -> tuple[int, int, int]:
    """Return the numbers of channels, tokens and states."""
    return u.shape[1], u.shape[2], A.shape[1]
