"""Interception by Triton kernels: on CUDA, and with TRITON_INTERPRET=1 slowly anywhere (selective-scan §6).

A program works on a tile of channels x tokens and loops over the states n with everything else in registers; the
largest tensors in memory are those of the arguments. Memory is contiguous: u, step, y, grad (b, D, L), B, C (b, N, L).
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsbench.networks.ops.selective_scan._launch import launch
from fsbench.networks.ops.selective_scan._triton_kernels import load_fp32

CHANNELS = 16
"""Channels of a tile."""
TOKENS = 64
"""Tokens of a tile."""


@triton.jit
def _tile(channels, length, BD: tl.constexpr, BT: tl.constexpr):
    """Return sample, channels (BD, 1), tokens (1, BT) of the program, masks of existing ones, places in (b, D, L)."""
    sample = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1).to(tl.int64) * BD + tl.arange(0, BD)[:, None]
    time = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)[None, :]
    at = (sample * channels + channel) * length + time
    return sample, channel, time, channel < channels, time < length, at


@triton.jit
def read(u, step, A, B, C, state, y, channels, length, states, BD: tl.constexpr, BT: tl.constexpr):
    """Compute the outputs (b, D, L) without the skip."""
    sample, channel, time, own, token, at = _tile(channels, length, BD, BT)
    delta = load_fp32(step + at, own & token)
    out, same = tl.zeros([BD, BT], tl.float32), tl.zeros([1, BT], tl.float32)
    for n in range(states):
        row = (sample * states + n) * length + time
        c = load_fp32(C + row, token)
        same += load_fp32(B + row, token) * c
        a = load_fp32(A + channel * states + n, own)
        h = load_fp32(state + (sample * channels + channel) * states + n, own)
        out += tl.exp(a * delta) * (h * c)
    out += delta * load_fp32(u + at, own & token) * same
    tl.store(y + at, out, mask=own & token)


@triton.jit
def read_backward(
    u, step, A, B, C, state, grad, grad_u, grad_step, grad_A, grad_B, grad_C, grad_state,
    channels, length, states, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Compute the gradients (selective-scan §5).

    Those of u and step are written (b, D, L); of A and the state as one summand per block of tokens, (b, blocks, N, D);
    of B and C as one summand per block of channels, (blocks, b, N, L).
    """
    sample, channel, time, own, token, at = _tile(channels, length, BD, BT)
    mask = own & token
    delta, value, g = load_fp32(step + at, mask), load_fp32(u + at, mask), load_fp32(grad + at, mask)
    received = tl.sum(g * delta * value, 0)[None, :]
    same, through = tl.zeros([1, BT], tl.float32), tl.zeros([BD, BT], tl.float32)
    for n in range(states):
        row = (sample * states + n) * length + time
        b, c = load_fp32(B + row, token), load_fp32(C + row, token)
        same += b * c
        a = load_fp32(A + channel * states + n, own)
        h = load_fp32(state + (sample * channels + channel) * states + n, own)
        weighted = tl.exp(a * delta) * g
        column = ((tl.program_id(1) * tl.num_programs(2) + sample) * states + n) * length + time
        tl.store(grad_B + column, c * received, mask=token)
        tl.store(grad_C + column, b * received + tl.sum(weighted * h, 0)[None, :], mask=token)
        weighted *= c
        place = ((sample * tl.num_programs(0) + tl.program_id(0)) * states + n) * channels + channel
        tl.store(grad_state + place, tl.sum(weighted, 1)[:, None], mask=own)
        weighted *= h
        through += a * weighted
        tl.store(grad_A + place, tl.sum(weighted * delta, 1)[:, None], mask=own)
    tl.store(grad_u + at, g * delta * same, mask=mask)
    tl.store(grad_step + at, through + g * value * same, mask=mask)


class Interception(torch.autograd.Function):
    """Interception of fp32 arguments; see `interception.Interception`."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, step: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> Tensor:
        arguments = [t.contiguous() for t in (u, step, A, B, C, state)]
        y = torch.empty_like(arguments[0])
        launch(read, _grid(u), *arguments, y, *_sizes(u, A), BD=CHANNELS, BT=TOKENS)
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
            read_backward, grid, u, step, A, B, C, state, grad.contiguous(), grad_u, grad_step, grad_A, grad_B, grad_C,
            grad_state, *_sizes(u, A), BD=CHANNELS, BT=TOKENS,
        )  # fmt: skip
        return grad_u, grad_step, grad_A.sum((0, 1)).mT, grad_B.sum(0), grad_C.sum(0), grad_state.sum(1).mT


def _grid(u: Tensor) -> tuple[int, int, int]:
    return triton.cdiv(u.shape[2], TOKENS), triton.cdiv(u.shape[1], CHANNELS), len(u)


def _sizes(u: Tensor, A: Tensor) -> tuple[int, int, int]:
    """Return the numbers of channels, tokens and states."""
    return u.shape[1], u.shape[2], A.shape[1]
