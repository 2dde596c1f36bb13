"""The CUDA kernel of the package mamba-ssm, where that is installed (`make cuda`)."""

from typing import Any, cast

import torch
from torch import Tensor

from fsbench.errors import SettingsError


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    state: Tensor | None,
    return_last_state: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    """Arguments and result of `selective_scan`; variable B and C have the same number of groups.

    Raises SettingsError without the package, for what the kernel lacks (fp64, an initial state), and when a gradient
    reaches the last state, which it would ignore.
    """
    if u.dtype == torch.float64:
        raise SettingsError("the scan back end mamba_ssm computes in fp32, found float64; choose torch")
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError as error:
        raise SettingsError(
            f"the scan back end mamba_ssm cannot be imported ({error}); install it with make cuda, or choose triton"
        ) from error
    if state is not None:
        raise SettingsError("the scan back end mamba_ssm has no initial state; choose triton or torch")
    A = A.float()  # like D and the bias: the kernel takes nothing else
    D, bias = (None if t is None else t.float() for t in (D, bias))
    B, C = (t.float() if t.dim() == 2 else t for t in (B, C))
    found = selective_scan_fn(u, delta, A, B, C, D, z, bias, softplus, return_last_state)
    if not return_last_state:
        return cast(Tensor, found)
    y, last = found
    return y, cast(Tensor, _WithoutGradient.apply(last, y))


class _WithoutGradient(torch.autograd.Function):
    """Passes the last state on and refuses its gradient."""

    @staticmethod
    def forward(ctx: Any, last: Tensor, y: Tensor) -> Tensor:
        return last.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        raise SettingsError("the scan back end mamba_ssm has no gradient of the last state; choose triton or torch")
