"""Selective scan by doubling: log2(L) steps over all tokens at once, for graphs that are exported.

Each token is an affine map of the state, state -> a · state + b; maps of 1, 2, 4, … tokens are composed of two of half
as many. All states exist at once, several times: (b, D, N, L) numbers each.
"""

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
    """Scan tokens; see `_reference.scan`."""
    u, delta, B, C = (t.to(A.dtype) for t in (u, delta, B, C))
    if bias is not None:
        delta = delta + bias[:, None]
    if softplus:
        delta = F.softplus(delta)
    B, C = (t.repeat_interleave(len(A) // t.shape[1], 1) for t in (B, C))  # (b, D, N, L)
    length = u.shape[2]
    factor = torch.exp(delta[:, :, None] * A[:, :, None])
    summand = (delta * u)[:, :, None] * B
    if decay is not None and offset is not None:
        first = torch.arange(length, device=u.device) % window == 0
        first = first & (torch.arange(length, device=u.device) > 0)
        summand = torch.where(first, factor * offset[..., None] + summand, summand)
        factor = torch.where(first, factor * decay[..., None], factor)
    step = 1
    while step < length:
        before, at = factor[..., :-step], factor[..., step:]
        summand = torch.cat([summand[..., :step], summand[..., step:] + at * summand[..., :-step]], -1)
        factor = torch.cat([factor[..., :step], at * before], -1)
        step *= 2
    states = factor * state[..., None] + summand
    y = (states * C).sum(2)
    return y if D is None else y + D[:, None] * u, states[..., -1]
