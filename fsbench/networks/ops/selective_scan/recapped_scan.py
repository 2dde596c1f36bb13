"""Scan of a sequence [S, Q_0, S, Q_1, ..., S, Q_{W-1}] in which one segment S comes before every window Q_w.

It is HMNet's support recapped Mamba. S acts on the state as one affine map, exit = exp(A ΣDelta) · entry + exit from
zero (selective-scan §2, §4). It is scanned once; at every later occurrence the map is applied instead. That is W + 1
segments instead of 2 W, and S's inputs exist once.

Shapes: b samples, D channels, G groups, N states, T tokens of S, (W, Tq) windows of Tq tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.networks.ops.selective_scan._arguments import check_arguments
from fsbench.networks.ops.selective_scan._backends import Backend, choose_backend, implementation


def recapped_scan(
    u_s: Tensor,
    delta_s: Tensor,
    B_s: Tensor,
    C_s: Tensor,
    u_q: Tensor,
    delta_q: Tensor,
    B_q: Tensor,
    C_q: Tensor,
    A: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    backend: Backend | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a selective scan over W windows of query tokens, with the support's tokens S repeated before each window.

    The scan starts from a zero state.

    Args:
        u_s, delta_s: inputs and step sizes of S (b, D, T).
        B_s, C_s: projections of S (b, G, N, T).
        u_q, delta_q: inputs and step sizes of the windows (b, D, W, Tq).
        B_q, C_q: projections of the windows (b, G, N, W, Tq).
        A, D, delta_bias, delta_softplus, backend: state matrix, skip, bias and softplus of the step sizes, and name of
            the implementation, as in `selective_scan`. "mamba_ssm", which has no initial state, scans the whole
            sequence.

    Returns:
        Outputs of the first S (b, D, T) and of the windows (b, D, W, Tq), in u's dtype, and the state after the first S
        (b, D, N); all differentiable (the state not with "mamba_ssm").

    Raises:
        SettingsError: the arguments do not fit together, or the implementation does not support the call.
    """
    _check_parts({"u": u_s, "delta": delta_s, "B": B_s, "C": C_s}, {"u": u_q, "delta": delta_q, "B": B_q, "C": C_q})
    u, delta, B, C = (t.flatten(-2) for t in (u_q, delta_q, B_q, C_q))
    check_arguments(u, delta, A, B, C, D, None, delta_bias, None)
    chosen = choose_backend(u_q, backend)
    if chosen == "mamba_ssm":
        return long_scan(
            u_s, delta_s, B_s, C_s, u_q, delta_q, B_q, C_q, A, D, delta_bias, delta_softplus, backend=chosen
        )
    y_s, state = selective_scan(
        u_s, delta_s, A, B_s, C_s, D, None, delta_bias, delta_softplus, return_last_state=True, backend=chosen
    )
    with torch.autocast(u_q.device.type, enabled=False):
        wide = state.dtype
        A = A.to(wide)
        D, delta_bias = (None if t is None else t.to(wide) for t in (D, delta_bias))
        step = delta_s.to(wide) if delta_bias is None else delta_s.to(wide) + delta_bias[:, None]
        total = (F.softplus(step) if delta_softplus else step).sum(2)
        recap = (u_q.shape[3], torch.exp(A * total[..., None]), state)
        y_q, _ = implementation(chosen)(u, delta, A, B, C, D, delta_bias, delta_softplus, state, *recap)
    return y_s, y_q.to(u_q.dtype).view(u_q.shape), state


def _check_parts(segment: dict[str, Tensor], windows: dict[str, Tensor]) -> None:
    """Raise SettingsError unless segment and windows agree in all but the number of tokens."""
    for name, s in segment.items():
        q, wanted = windows[name], 3 if name in ("u", "delta") else 4
        if s.dim() != wanted or s.shape[:-1] != q.shape[:-2] or s.dtype != q.dtype:
            axes = "(b, D, T) and (b, D, W, Tq)" if wanted == 3 else "(b, G, N, T) and (b, G, N, W, Tq)"
            raise SettingsError(
                f"recapped_scan: {name}_s is {tuple(s.shape)} {s.dtype} and {name}_q {tuple(q.shape)} {q.dtype}, "
                f"expected {axes} of one dtype"
            )
        layout = windows["u"].shape[-2:]
        if q.shape[-2:] != layout:
            raise SettingsError(
                f"recapped_scan: {name}_q has (W, Tq) of {tuple(q.shape[-2:])}, expected {tuple(layout)} as u_q"
            )
    groups = [segment[name].shape[1] for name in "BC"]
    if groups[0] != groups[1]:
        raise SettingsError(f"recapped_scan: B has {groups[0]} groups, C {groups[1]}; expected the same number")


def long_scan(
    u_s: Tensor,
    delta_s: Tensor,
    B_s: Tensor,
    C_s: Tensor,
    u_q: Tensor,
    delta_q: Tensor,
    B_q: Tensor,
    C_q: Tensor,
    A: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    backend: Backend | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `recapped_scan` by its definition: build the whole sequence, with all repetitions, and scan it.

    Arguments and result are those of `recapped_scan`; the last state has no gradient.
    """
    length = u_s.shape[-1]

    def sequence(s: Tensor, q: Tensor) -> Tensor:
        repeated = s.unsqueeze(-2).expand(*q.shape[:-1], length)
        return torch.cat([repeated, q], -1).flatten(-2)

    with torch.no_grad():
        _, state = selective_scan(
            u_s, delta_s, A, B_s, C_s, D, None, delta_bias, delta_softplus, return_last_state=True, backend=backend
        )
    pairs = ((u_s, u_q), (delta_s, delta_q), (B_s, B_q), (C_s, C_q))
    u, delta, B, C = (sequence(*pair) for pair in pairs)
    y = selective_scan(u, delta, A, B, C, D, None, delta_bias, delta_softplus, backend=backend)
    assert isinstance(y, Tensor)
    y = y.unflatten(2, (u_q.shape[2], -1))
    return y[:, :, 0, :length], y[..., length:], state
