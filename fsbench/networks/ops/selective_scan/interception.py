"""One step of the scan for every token by itself: HMNet's query intercepted Mamba (hmnet.md §6.4).

Every token starts from the same given state H:

    y_t = C_t · (exp(Delta_t A) H + Delta_t B_t u_t) + D u_t

The second term needs no state axis, for it is Delta_t u_t (B_t · C_t); the first is summed over the states one by one,
so no (b, d, l, n) tensor exists in either pass (selective-scan §5).

Shapes: b samples, d channels, l tokens, n states.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsbench.base.errors import SettingsError
from fsbench.networks.ops.selective_scan._arguments import check_arguments
from fsbench.networks.ops.selective_scan._backends import Backend, choose_backend


def intercept(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    state: Tensor,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    backend: Backend | None = None,
) -> Tensor:
    """Read `state` with every token.

    Args:
        u, delta: (b, d, l).
        A: (d, n).
        B, C: (b, n, l).
        D: (d,), or () for one skip of all channels.
        state: (b, d, n), for all tokens.
        delta_bias: (d,).
        delta_softplus: Delta is softplus(delta + bias).
        backend: see `selective_scan`; "reference" is the definition with (b, d, l, n) tensors, and "mamba_ssm", which
            has no such step, takes "torch".

    Returns:
        (b, d, l) in u's dtype. Sums are fp32 or wider. All arguments get gradients.

    Raises:
        SettingsError: the arguments do not fit together, or the back end cannot run with this device.
    """
    check_arguments(u, delta, A, B, C, D if D.dim() else None, None, delta_bias, state)
    if B.dim() != 3 or C.dim() != 3:
        raise SettingsError(f"intercept: B and C have {B.dim()} and {C.dim()} dimensions, expected (b, n, l)")
    wide = torch.promote_types(u.dtype, torch.float32)
    with torch.autocast(u.device.type, enabled=False):
        step = delta.to(wide) if delta_bias is None else delta.to(wide) + delta_bias.to(wide)[:, None]
        step = F.softplus(step) if delta_softplus else step
        values = u.to(wide)
        arguments = (values, step, *(t.to(wide) for t in (A, B, C, state)))
        y = _function(values, backend)(*arguments) + D.to(wide).expand(len(A))[:, None] * values
        return y.to(u.dtype)


def _function(u: Tensor, backend: Backend | None) -> Callable[..., Tensor]:
    """Return the function from (u, Delta, A, B, C, state) to the outputs without the skip."""
    chosen = choose_backend(u, backend)
    if chosen in ("reference", "doubling"):
        return _by_definition
    if chosen == "triton":
        from fsbench.networks.ops.selective_scan import _triton  # which is optional

        return cast(Callable[..., Tensor], _triton.Interception.apply)
    return cast(Callable[..., Tensor], Interception.apply)


def _by_definition(u: Tensor, step: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> Tensor:
    """Compute the outputs without the skip with the states of all tokens."""
    states = torch.exp(step[..., None] * A[:, None]) * state[:, :, None]
    states = states + (step * u)[..., None] * B.mT[:, None]
    return torch.einsum("bdln,bnl->bdl", states, C)


class Interception(torch.autograd.Function):
    """Interception without the skip, state by state; saves its inputs only."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, step: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> Tensor:
        y = step * u * (B * C).sum(1, keepdim=True)
        for n in range(A.shape[1]):
            decay = torch.mul(step, A[:, n, None]).exp_()
            y.addcmul_(decay.mul_(state[:, :, n, None]), C[:, n, None])
        ctx.save_for_backward(u, step, A, B, C, state)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            u, step, A, B, C, state = ctx.saved_tensors
            same = (B * C).sum(1, keepdim=True)
            grad_u, grad_step = grad * step * same, torch.zeros_like(step)
            x = (grad * step * u).sum(1, keepdim=True)
            grad_A, grad_state = torch.empty_like(A), torch.empty_like(state)
            grad_B, grad_C = C * x, B * x
            for n in range(A.shape[1]):
                weighted = torch.mul(step, A[:, n, None]).exp_().mul_(grad)
                grad_C[:, n] += torch.einsum("bdl,bd->bl", weighted, state[:, :, n])
                weighted *= C[:, n, None]
                grad_state[:, :, n] = weighted.sum(2)
                weighted *= state[:, :, n, None]
                grad_step.addcmul_(weighted, A[:, n, None])
                grad_A[:, n] = weighted.mul_(step).sum((0, 2))
            grad_step += grad * u * same
            return grad_u, grad_step, grad_A, grad_B, grad_C, grad_state
