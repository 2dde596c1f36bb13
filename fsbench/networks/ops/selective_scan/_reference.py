"""Selective scan by its definition, token by token; autograd keeps every state."""

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
    """Scan tokens; the contract of every back end.

    Args:
        u, delta: (b, D, L).
        A: (D, N).
        B, C: (b, G, N, L).
        D, bias: (D,) or None.
        softplus: take the softplus of delta and bias.
        state: state before the first token (b, D, N).
        window: number of tokens, a divisor of L, after which the state becomes decay · state + offset, except after
            the last one.
        decay, offset: (b, D, N), or None for no such map.

    Returns:
        outputs (b, D, L) and last state (b, D, N), both in A's dtype.
    """
    u, delta, B, C = (t.to(A.dtype) for t in (u, delta, B, C))
    if bias is not None:
        delta = delta + bias[:, None]
    if softplus:
        delta = F.softplus(delta)
    B, C = (t.repeat_interleave(len(A) // t.shape[1], 1) for t in (B, C))  # (b, D, N, L)
    outputs = []
    for t in range(u.shape[2]):
        if decay is not None and offset is not None and t and t % window == 0:
            state = decay * state + offset
        step = delta[:, :, t, None]
        state = torch.exp(step * A) * state + step * u[:, :, t, None] * B[..., t]
        outputs.append((state * C[..., t]).sum(-1))
    y = torch.stack(outputs, 2)
    return y if D is None else y + D[:, None] * u, state
