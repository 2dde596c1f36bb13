"""Selective scan by its definition, token by token, and for graphs that are exported; autograd keeps every state."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
    window: int,
    decay: Tensor | None,
    offset: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Reference implementation of Mamba's selective scan, token by token, which all other implementations must match.

    Args:
        u, delta: inputs and step sizes (b, D, L).
        A: state matrix (D, N).
        B, C: input and output projections (b, G, N, L) for G groups of channels.
        D, bias: skip and bias of the step sizes, (D,) or None.
        softplus: whether to take the softplus of delta and bias.
        state: state before the first token (b, D, N).
        window: number of tokens, a divisor of L, after which the state becomes decay · state + offset; not after the
            last token.
        decay, offset: (b, D, N), or None to leave the state as it is.

    Returns:
        Outputs (b, D, L) and last state (b, D, N), both in A's dtype.
    """
    u, step, B, C = _widened(u, delta, B, C, bias, softplus, A)
    inflow, outputs = step * u, []
    for t in range(u.shape[2]):
        if decay is not None and offset is not None and t and t % window == 0:
            state = decay * state + offset
        state = torch.exp(step[:, :, t, None] * A) * state + inflow[:, :, t, None] * B[..., t]
        outputs.append((state * C[..., t]).sum(-1))
    y = torch.stack(outputs, 2)
    return y if D is None else y + D[:, None] * u, state


def scan_by_doubling(
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
    """Run the selective scan on all tokens at once in log2(L) steps, which can be traced into a graph.

    Arguments and result are those of `scan`, which takes token by token. Each token is an affine map of the state,
    state -> a · state + b; maps of 2, 4, … tokens are composed of two maps of half as many. All states exist at once,
    (b, D, N, L) numbers each time.
    """
    u, step, B, C = _widened(u, delta, B, C, bias, softplus, A)
    length = u.shape[2]
    factor = torch.exp(step[:, :, None] * A[:, :, None])
    summand = (step * u)[:, :, None] * B
    if decay is not None and offset is not None:
        first = torch.arange(length, device=u.device) % window == 0
        first = first & (torch.arange(length, device=u.device) > 0)
        summand = torch.where(first, factor * offset[..., None] + summand, summand)
        factor = torch.where(first, factor * decay[..., None], factor)
    span = 1
    while span < length:
        before, at = factor[..., :-span], factor[..., span:]
        summand = torch.cat([summand[..., :span], summand[..., span:] + at * summand[..., :-span]], -1)
        factor = torch.cat([factor[..., :span], at * before], -1)
        span *= 2
    states = factor * state[..., None] + summand
    y = (states * C).sum(2)
    return y if D is None else y + D[:, None] * u, states[..., -1]


def _widened(
    u: Tensor, delta: Tensor, B: Tensor, C: Tensor, bias: Tensor | None, softplus: bool, A: Tensor
) -> tuple[Tensor, ...]:
    """Return u and Delta (b, D, L), B and C (b, D, N, L), in A's dtype."""
    u, delta, B, C = (t.to(A.dtype) for t in (u, delta, B, C))
    delta = delta if bias is None else delta + bias[:, None]
    B, C = (t.repeat_interleave(len(A) // t.shape[1], 1) for t in (B, C))
    return u, F.softplus(delta) if softplus else delta, B, C
