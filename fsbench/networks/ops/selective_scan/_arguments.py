"""Checks and shapes of the selective scan's arguments; letters as in `fsbench.networks.ops.selective_scan`."""

from typing import Any

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError

MAX_STATES = 256  # as in the CUDA kernel of mamba-ssm


def expand_groups(B: Tensor, C: Tensor, b: int, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the parameters B and C of a selective scan, given in any of their forms, as (b, G, N, L) with the same G.

    A parameter that has to be repeated is returned in `dtype`, in which the gradients of its copies are added up.
    """
    grouped = [_per_token(t, b, length) for t in (B, C)]
    most = max(t.shape[1] for t in grouped)
    first, second = (t if t.shape[1] == most else t.to(dtype).repeat_interleave(most // t.shape[1], 1) for t in grouped)
    return first, second


def _per_token(t: Tensor, b: int, length: int) -> Tensor:
    """Return B or C in any of their forms as (b, G, N, L)."""
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
    """Check the shapes and dtypes of a selective scan's arguments; return batch size b, channels D and length L.

    Raises:
        SettingsError: an argument does not fit; the message names it.
    """
    if u.dim() != 3 or 0 in u.shape or not u.is_floating_point():
        raise SettingsError(
            f"selective_scan: u is {tuple(u.shape)} {u.dtype}, expected real (b, D, L) without empty dimensions"
        )
    if A.dim() != 2 or A.is_complex() or not 1 <= A.shape[1] <= MAX_STATES:
        raise SettingsError(
            f"selective_scan: A is {tuple(A.shape)} {A.dtype}, expected real (D, N) with N of at most {MAX_STATES}"
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
        fits = {2: (channels, states), 3: (b, states, length), 4: (b, groups, states, length)}.get(tensor.dim())
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
