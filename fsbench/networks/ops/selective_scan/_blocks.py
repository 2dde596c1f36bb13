"""Selective scan in blocks of a few tokens whose states stay in the processor's cache (selective-scan §3).

All exponentials and inputs of a block are computed at once; one fused multiply-add per token remains. The backward pass
keeps the state at the entry of each block and recomputes the others, so that the states of all tokens never exist.

Shapes: t tokens of a block; b samples; D = G·H channels, H in each of G groups; N states. Inside, tokens come first and
channels last, so that every operation runs along contiguous channels. Arguments and outputs that lie in memory as
(b, L, D), as HMNet's do, are read and written where they are; others are rearranged as a whole.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_NUMBERS = 2**18
"""Numbers in the states of a block, 1 MB in fp32: so many tokens of one sample, or samples where these are few."""
FEWEST, MOST = 16, 128
"""Tokens of a block at least, since the states between blocks are kept for the backward pass, and at most."""


class _Inputs:
    """Arguments of the scan, with u, delta (b, L, D), A (G, N, H), D and bias (G, H).

    Attributes:
        rate: A, and with a softplus A · log2(e), for exp(Delta A) = 2^(Delta rate): powers of two take half as long.
            Their exponents are rounded once more, which is too much where states grow, as they can without a softplus.
    """

    def __init__(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        bias: Tensor | None,
        softplus: bool,
    ):
        groups = B.shape[1]
        self.u, self.delta, self.B, self.C = u.mT.contiguous(), delta.mT.contiguous(), B, C
        self.A = channels_last(A[None], groups)[0]
        self.D, self.bias = (None if t is None else t.unflatten(0, (groups, -1)) for t in (D, bias))
        self.softplus = softplus
        self.rate = self.A * math.log2(math.e) if softplus else self.A


class _Block:
    """Tensors of some tokens of some samples.

    Attributes:
        raw, step, u: Delta before and after the softplus, and u (t, b, G, H).
        B, C: (t, b, G, N).
        scaled: Delta u (t, b, G, H).
        decay, inflow: exp(Delta A) and Delta u B (t, b, G, N, H).
    """

    def __init__(self, x: _Inputs, samples: slice, tokens: slice, workspace: "_Workspace"):
        self.u, self.raw = (_time_first(t[samples, tokens], x) for t in (x.u, x.delta))
        self.B, self.C = (
            t[samples, :, :, tokens].permute(3, 0, 1, 2).to(x.A.dtype, memory_format=torch.contiguous_format)
            for t in (x.B, x.C)
        )
        if x.bias is not None:
            self.raw = self.raw + x.bias
        self.step = _softplus(self.raw) if x.softplus else self.raw
        self.scaled = self.step * self.u
        t = len(self.u)
        self.decay = torch.mul(self.step[..., None, :], x.rate, out=workspace.decay[:t])
        if x.softplus:
            self.decay.exp2_()
        else:
            self.decay.exp_()
        self.inflow = torch.mul(self.scaled[..., None, :], self.B[..., None], out=workspace.inflow[:t])
        self.workspace = workspace

    def states(self, entry: Tensor) -> Tensor:
        """Return the states (t, b, G, N, H) of the block from the state before it (b, G, N, H)."""
        states = self.workspace.states[: len(self.u)]
        for inflow, decay, state in zip(self.inflow, self.decay, states, strict=True):
            entry = torch.addcmul(inflow, decay, entry, out=state)
        return states

    # Products are written where the inflow was, which is not needed once the states are known. Batched matrix products
    # of these sizes take up to seven times as long.

    def sum_over_states(self, states: Tensor, vectors: Tensor, out: Tensor | None = None) -> Tensor:
        """Multiply states (t, b, G, N, H) by vectors (t, b, G, N) and sum over states: (t, b, G, H)."""
        return torch.sum(torch.mul(states, vectors[..., None], out=self.inflow), 3, out=out)

    def sum_over_channels(self, states: Tensor, channels: Tensor) -> Tensor:
        """Multiply states (t, b, G, N, H) by channels (t, b, G, H) and sum over channels: (b, G, N, t)."""
        return torch.mul(states, channels[..., None, :], out=self.inflow).sum(4).permute(1, 2, 3, 0)


class _Workspace:
    """Memory for the large tensors of a block, reused by all blocks: new pages would cost as much as the numbers."""

    def __init__(self, x: _Inputs, samples: slice):
        shape = (_tokens(x.A), samples.stop - samples.start, *x.A.shape)
        self.decay, self.inflow, self.states, self.flow = (x.A.new_empty(shape) for _ in range(4))


class Scan(torch.autograd.Function):
    """Selective scan in blocks of tokens, as an autograd function with the arguments of `_reference.scan`.

    For the backward pass it saves its inputs, the states at the start of each block and, if the state is changed
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
        x = _Inputs(u, delta, A, B, C, D, bias, softplus)
        y = torch.empty(x.u.shape, dtype=A.dtype, device=u.device)
        last = torch.empty(state.shape, dtype=A.dtype, device=u.device)
        blocks = _blocks(u, window, _tokens(A))
        keep = any(ctx.needs_input_grad)
        entries = A.new_empty(len(blocks) if keep else 0, len(u), *x.A.shape)
        exits = A.new_empty(u.shape[2] // window if keep and decay is not None else 0, len(u), *x.A.shape)
        for samples in _samples(u, A):
            h, decayed, added = (_states(t, samples, x) for t in (state, decay, offset))
            workspace = _Workspace(x, samples)
            for number, tokens in enumerate(blocks):
                if keep:
                    entries[number, samples] = h
                block = _Block(x, samples, tokens, workspace)
                states = block.states(h)
                out = block.sum_over_states(states, block.C, out=_time_first(y[samples, tokens], x))
                if x.D is not None:
                    out.addcmul_(x.D, block.u)
                h = states[-1]
                if decay is not None and tokens.stop % window == 0 and tokens.stop < u.shape[2]:
                    if keep:
                        exits[tokens.stop // window - 1, samples] = h
                    h = torch.addcmul(added, decayed, h)
            last[samples] = states_last(h)
        ctx.save_for_backward(u, delta, A, B, C, D, bias, decay, entries, exits)
        ctx.softplus, ctx.window = softplus, window
        return y.mT, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return Scan._backward(ctx, grad, grad_last)

    @staticmethod
    def _backward(ctx: Any, grad: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        """Formulas of selective-scan §1.1 and §4.1: `carried` is the gradient of the state after the current token."""
        u, delta, A, B, C, D, bias, decay, entries, exits = ctx.saved_tensors
        x = _Inputs(u, delta, A, B, C, D, bias, ctx.softplus)
        gradients, grad = _Gradients(x, decay is not None, grad_last), grad.mT.contiguous()
        for samples in _samples(u, A):
            carried, decayed = (_states(t, samples, x) for t in (grad_last, decay))
            workspace = _Workspace(x, samples)
            for number, tokens in reversed(list(enumerate(_blocks(u, ctx.window, _tokens(A))))):
                if decay is not None and tokens.stop % ctx.window == 0 and tokens.stop < u.shape[2]:
                    gradients.decay[samples] += states_last(carried * exits[tokens.stop // ctx.window - 1, samples])
                    gradients.offset[samples] += states_last(carried)
                    carried *= decayed
                block = _Block(x, samples, tokens, workspace)
                g = _time_first(grad[samples, tokens], x)
                gradients.add(samples, tokens, block, entries[number, samples], g, carried)
            gradients.state[samples] = states_last(carried)
        per_channel = (None if t is None else t.flatten() for t in (gradients.D, gradients.bias))
        maps = (None, None) if decay is None else (gradients.decay, gradients.offset)
        grad_A = states_last(gradients.A[None])[0]
        return (
            gradients.u.mT,
            gradients.delta.mT,
            grad_A,
            gradients.B,
            gradients.C,
            *per_channel,
            None,
            gradients.state,
            None,
            *maps,
        )


class _Gradients:
    """Gradients of the scan's arguments, summed over blocks."""

    def __init__(self, x: _Inputs, recap: bool, grad_last: Tensor):
        self.x = x
        self.u, self.delta, self.B, self.C = (torch.empty_like(t) for t in (x.u, x.delta, x.B, x.C))
        self.A, self.state = torch.zeros_like(x.A), torch.empty_like(grad_last)
        self.D, self.bias = (None if t is None else torch.zeros_like(t) for t in (x.D, x.bias))
        self.decay, self.offset = (torch.zeros_like(grad_last) if recap else grad_last[:0] for _ in range(2))

    def add(self, samples: slice, tokens: slice, block: _Block, entry: Tensor, g: Tensor, carried: Tensor) -> None:
        """Add the gradients of a block with output gradient `g` (t, b, G, H).

        `carried`, the gradient of the state after the block, becomes in place that of the state before it.
        """
        x, states = self.x, block.states(entry)
        flow = torch.mul(g[..., None, :], block.C[..., None], out=block.workspace.flow[: len(g)])
        later = flow[-1].add_(carried)
        for received, decay in reversed(list(zip(flow[:-1], block.decay[1:], strict=True))):
            later = received.addcmul_(decay, later)
        torch.mul(block.decay[0], flow[0], out=carried)
        self.B[samples, :, :, tokens] = block.sum_over_channels(flow, block.scaled)
        self.C[samples, :, :, tokens] = block.sum_over_channels(states, g)
        into = block.sum_over_states(flow, block.B)
        through = into * block.step
        decayed = block.inflow  # a_t h_{t-1} g_t in its place
        torch.mul(block.decay[0], entry, out=decayed[0])
        torch.mul(block.decay[1:], states[:-1], out=decayed[1:])
        decayed *= flow
        product = block.decay  # free as well by now
        self.A += torch.mul(decayed, block.step[..., None, :], out=product).sum((0, 1))
        step = torch.mul(decayed, x.A, out=product).sum(3) + into * block.u
        if x.softplus:
            step *= _softplus_slope(block.raw)
        if x.D is not None and self.D is not None:
            through += x.D * g
            self.D += (g * block.u).sum((0, 1))
        if self.bias is not None:
            self.bias += step.sum((0, 1))
        self.u[samples, tokens] = _samples_first(through)
        self.delta[samples, tokens] = _samples_first(step)


def channels_last(state: Tensor, groups: int) -> Tensor:
    """Rearrange states (b, D, N) to (b, G, N, H), contiguous."""
    return state.unflatten(1, (groups, -1)).transpose(2, 3).contiguous()


def states_last(state: Tensor) -> Tensor:
    """Rearrange states (b, G, N, H) to (b, D, N)."""
    return state.transpose(2, 3).flatten(1, 2)


def _states(state: Tensor | None, samples: slice, x: _Inputs) -> Tensor:
    """Copy the states of some samples, (b, D, N) to (samples, G, N, H); an empty tensor for None."""
    return x.A.new_empty(0) if state is None else channels_last(state[samples], len(x.A)).clone()


def _tokens(A: Tensor) -> int:
    """Return the number of tokens of a block."""
    return min(max(BLOCK_NUMBERS // A.numel(), FEWEST), MOST)


def _samples(u: Tensor, A: Tensor) -> Iterator[slice]:
    """Yield slices of samples whose states fit in the cache together."""
    step = max(1, BLOCK_NUMBERS // (_tokens(A) * A.numel()))
    return (slice(start, min(start + step, len(u))) for start in range(0, len(u), step))


def _blocks(u: Tensor, window: int, tokens: int) -> list[slice]:
    """Return the blocks of `tokens` tokens, of which none crosses the end of a window."""
    starts = range(0, u.shape[2], window)
    return [slice(t, min(t + tokens, start + window)) for start in starts for t in range(start, start + window, tokens)]


def _softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)), and x above 20 as torch does, as exact as torch's in a quarter of its time on a CPU.

    The logarithm of 1 + e costs a tenth of torch's log1p; what the sum has lost of e is added back.
    """
    small = x.exp()
    total = small + 1
    lost = (total - 1).sub_(small).div_(total)
    return torch.where(x > 20, x, total.log_().sub_(lost))


def _softplus_slope(x: Tensor) -> Tensor:
    """Return the derivative of the softplus: the sigmoid, but 1 above 20, where fp64's sigmoid is not exactly 1."""
    slope = x.sigmoid()
    return slope.masked_fill_(x > 20, 1) if x.dtype == torch.float64 else slope


def _time_first(tokens: Tensor, x: _Inputs) -> Tensor:
    """Rearrange tokens (b, t, D) to (t, b, G, H), in the dtype of A; those of one sample are not copied."""
    groups = len(x.A)
    return tokens.to(x.A.dtype).transpose(0, 1).unflatten(2, (groups, -1))


def _samples_first(x: Tensor) -> Tensor:
    """Rearrange (t, b, G, H) to (b, t, D)."""
    return x.flatten(2).transpose(0, 1)
