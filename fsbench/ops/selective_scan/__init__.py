"""The selective scan of Mamba, with an initial state and a differentiable last state (selective-scan §1).

    Delta_t = delta_t + delta_bias, through softplus if asked for
    h_t     = exp(Delta_t A) h_{t-1} + Delta_t u_t B_t
    y_t     = C_t · h_t + D u_t,  times silu(z_t) if z is given

Shapes: b samples, D channels, L tokens, N states of a channel, G groups of channels that share B and C (channel d
belongs to group d // (D / G)).
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.errors import SettingsError

Backend = Literal["reference", "torch", "triton", "mamba_ssm"]
MOST_STATES = 256  # as the CUDA kernel of mamba-ssm
IN_SINGLE = "the scan back end triton computes in fp32, found float64; choose torch"


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
    backend: Backend | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan tokens; arguments are those of mamba-ssm's `selective_scan_fn`, besides `initial_state` and `backend`.

    Args:
        u: (b, D, L) inputs; u, delta, z and variable B, C share one dtype.
        delta: (b, D, L) step sizes before bias and softplus.
        A: (D, N) real, fp32 (fp64 when u is).
        B, C: (b, G, N, L), (b, N, L) for one group, or fixed (D, N). Fixed ones are expanded to G = D groups, which
            takes b·D·N·L numbers.
        D: (D,) skip.
        z: (b, D, L) gate, applied after the skip.
        delta_bias: (D,).
        initial_state: (b, D, N) state before the first token; zeros by default. It is differentiable.
        return_last_state: also return the state after the last token.
        backend: "reference" (token by token, everything kept for autograd), "torch" (in blocks, states recomputed in
            the backward pass), "triton" (chunks in parallel, forward and backward) or "mamba_ssm" (its CUDA kernel,
            which has no initial state and no gradient of the last state). Default: `$FSBENCH_SCAN`; else on CUDA
            "mamba_ssm" where it is installed, has what the call needs and torch is not asked for deterministic
            gradients, or "triton"; "torch" otherwise.

    Returns:
        (b, D, L) in u's dtype, and with `return_last_state` the differentiable last state (b, D, N), fp32 or wider.
        State and sums are fp32 or wider whatever the inputs and autocast say.

    Raises SettingsError for arguments that do not fit together or a back end that cannot do what is asked.
    """
    b, channels, length = check_arguments(u, delta, A, B, C, D, z, delta_bias, initial_state)
    stateless = initial_state is None and not (return_last_state and torch.is_grad_enabled())
    chosen = choose_backend(u, backend, stateless)
    if chosen == "mamba_ssm":
        from fsbench.ops.selective_scan import _mamba_ssm

        if B.dim() > 2 and C.dim() > 2:
            B, C = _groups(B, C, b, length)
        return _mamba_ssm.scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, return_last_state)
    wide = torch.promote_types(u.dtype, torch.float32)
    if initial_state is None:
        initial_state = A.new_zeros(b, channels, A.shape[1], dtype=wide)
    B, C = _groups(B, C, b, length)
    with torch.autocast(u.device.type, enabled=False):
        scan = implementation(chosen)
        D, delta_bias = (None if t is None else t.to(wide) for t in (D, delta_bias))
        start = initial_state.to(wide)
        y, last = scan(u, delta, A.to(wide), B, C, D, delta_bias, delta_softplus, start, length, None, None)
        if z is not None:
            y = y * F.silu(z.to(wide))
        y = y.to(u.dtype)
    return (y, last) if return_last_state else y


def choose_backend(u: Tensor, backend: Backend | None = None, stateless: bool = False) -> Backend:
    """The back end for tokens like `u`; `stateless`: no initial state and no gradient of the last state is needed.

    Raises SettingsError for an unknown back end, and for one that cannot run here.
    """
    chosen = backend or os.environ.get("FSBENCH_SCAN") or _automatic(u, stateless)
    if chosen not in get_args(Backend):
        raise SettingsError(f"unknown selective-scan back end '{chosen}'; there are {', '.join(get_args(Backend))}")
    if chosen == "mamba_ssm" and not u.is_cuda:
        raise SettingsError(f"the scan back end mamba_ssm needs CUDA tensors, found {u.device.type}; choose torch")
    if chosen == "triton" and not _installed("triton"):
        raise SettingsError("the scan back end triton needs the package triton, which is not installed; choose torch")
    if chosen == "triton" and not (u.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"):
        raise SettingsError(
            f"the scan back end triton needs CUDA tensors, found {u.device.type}; choose torch, or set "
            "TRITON_INTERPRET=1 to try it slowly"
        )
    return chosen  # type: ignore[return-value]


def _automatic(u: Tensor, stateless: bool) -> Backend:
    if not u.is_cuda or u.dtype == torch.float64:
        return "torch"
    # mamba-ssm's backward pass adds with atomic operations, in any order
    ordered = torch.are_deterministic_algorithms_enabled() and torch.is_grad_enabled()
    if stateless and not ordered and _installed("mamba_ssm") and _installed("selective_scan_cuda"):
        return "mamba_ssm"
    return "triton" if _installed("triton") else "torch"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def implementation(backend: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """The function `scan` of one of our back ends; `_reference.scan` says what it takes."""
    if backend == "reference":
        from fsbench.ops.selective_scan._reference import scan
    elif backend == "torch":
        from fsbench.ops.selective_scan._blocks import scan
    else:
        from fsbench.ops.selective_scan._triton import scan
    return scan


def _groups(B: Tensor, C: Tensor, b: int, length: int) -> tuple[Tensor, Tensor]:
    """B and C as (b, G, N, L) with the same G."""
    grouped = [_per_token(t, b, length) for t in (B, C)]
    most = max(t.shape[1] for t in grouped)
    first, second = (t if t.shape[1] == most else t.repeat_interleave(most // t.shape[1], 1) for t in grouped)
    return first, second


def _per_token(t: Tensor, b: int, length: int) -> Tensor:
    if t.dim() == 2:
        return t[None, :, :, None].expand(b, -1, -1, length)
    return t[:, None] if t.dim() == 3 else t


def check_arguments(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    state: Tensor | None,
) -> tuple[int, int, int]:
    """(b, D, L). Raises SettingsError naming the argument that does not fit."""
    if u.dim() != 3 or 0 in u.shape or not u.is_floating_point():
        raise SettingsError(
            f"selective_scan: u is {tuple(u.shape)} {u.dtype}, expected real (b, D, L) without empty dimensions"
        )
    if A.dim() != 2 or A.is_complex() or not 1 <= A.shape[1] <= MOST_STATES:
        raise SettingsError(
            f"selective_scan: A is {tuple(A.shape)} {A.dtype}, expected real (D, N) with N of at most {MOST_STATES}"
        )
    b, channels, length = u.shape
    states = A.shape[1]
    per_token: dict[str, tuple[Tensor | None, Any]] = {
        "delta": (delta, (b, channels, length)),
        "z": (z, (b, channels, length)),
        "A": (A, (channels, states)),
        "D": (D, (channels,)),
        "delta_bias": (bias, (channels,)),
        "initial_state": (state, (b, channels, states)),
    }
    for name, (tensor, shape) in per_token.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise SettingsError(f"selective_scan: {name} is {tuple(tensor.shape)}, expected {shape}")
    for name, tensor in {"B": B, "C": C}.items():
        groups = tensor.shape[1] if tensor.dim() == 4 else 1
        fits = {
            2: (channels, states),
            3: (b, states, length),
            4: (b, groups, states, length),
        }.get(tensor.dim())
        if tuple(tensor.shape) != fits or not groups or channels % groups:
            raise SettingsError(
                f"selective_scan: {name} is {tuple(tensor.shape)}, expected ({b}, G, {states}, {length}) with G a "
                f"divisor of {channels}, ({b}, {states}, {length}) or ({channels}, {states})"
            )
    if max(B.shape[1], C.shape[1]) % min(B.shape[1], C.shape[1]) and B.dim() == C.dim() == 4:
        raise SettingsError(f"selective_scan: B has {B.shape[1]} groups and C {C.shape[1]}, expected the same number")
    others = {"D": D, "delta_bias": bias, "initial_state": state, "B": B, "C": C}
    for name, tensor in {"A": A, "delta": delta, "z": z, **others}.items():
        if tensor is not None and (tensor.device != u.device or not tensor.is_floating_point()):
            raise SettingsError(
                f"selective_scan: {name} is {tensor.dtype} on {tensor.device}, expected real numbers on {u.device}"
            )
    tokens = {"delta": delta, "z": z, "B": B if B.dim() > 2 else None, "C": C if C.dim() > 2 else None}
    for name, token in tokens.items():
        if token is not None and token.dtype != u.dtype:
            raise SettingsError(f"selective_scan: {name} is {token.dtype}, expected the dtype of u, {u.dtype}")
    return b, channels, length
