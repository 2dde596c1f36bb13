"""One step of the scan for every token by itself: HMNet's query intercepted Mamba (hmnet.md §6.4).

Every token starts from the same given state H:

    y_t = C_t · (exp(Delta_t A) H + Delta_t B_t u_t) + D u_t

Triton's kernels hold no (b, d, l, n) tensor in either pass (selective-scan §5). The definition does, which costs an
episode nothing that counts beside its scans.

Shapes: b samples, d channels, l tokens, n states.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

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
    """Make one step of a selective scan from the same state for every token, and return the outputs.

    Args:
        u, delta: inputs and step sizes (b, d, l).
        A: state matrix (d, n).
        B, C: input and output projections (b, n, l).
        D: skip (d,), or () for one skip of all channels.
        state: state (b, d, n) from which each token starts.
        delta_bias: bias of the step sizes (d,).
        delta_softplus: whether the step size is softplus(delta + bias).
        backend: name of the implementation, as in `selective_scan`; all but "triton" use the definition with tensors
            (b, d, l, n). None takes the default.

    Returns:
        Outputs (b, d, l) in u's dtype. Sums are fp32 or wider. All arguments get gradients.

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
    if choose_backend(u, backend) == "triton":
        from fsbench.networks.ops.selective_scan import _triton  # which is optional

        return cast(Callable[..., Tensor], _triton.Interception.apply)
    return _by_definition


def _by_definition(u: Tensor, step: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> Tensor:
    """Compute the outputs without the skip with the states of all tokens."""
    states = torch.exp(step[..., None] * A[:, None]) * state[:, :, None]
    states = states + (step * u)[..., None] * B.mT[:, None]
    return torch.einsum("bdln,bnl->bdl", states, C)
