"""Selective scan by the CUDA kernel of the package mamba-ssm, if it is installed (`make cuda`)."""

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError


def import_kernel() -> Callable[..., Any]:
    """Return the function `selective_scan_fn` of the package mamba-ssm.

    Raises:
        SettingsError: mamba-ssm is not installed, or was built for another torch or GPU.
    """
    try:  # optional
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except (ImportError, OSError, RuntimeError) as error:
        raise SettingsError(
            f"the scan back end mamba_ssm cannot be imported ({error}); install it with make cuda, or choose triton"
        ) from error
    return cast(Callable[..., Any], selective_scan_fn)


@cache
def is_usable() -> bool:
    """Return whether mamba-ssm is installed with its CUDA extension; warn if it is, but cannot be imported."""
    if not all(importlib.util.find_spec(name) for name in ("mamba_ssm", "selective_scan_cuda")):
        return False
    try:
        import_kernel()
    except SettingsError as error:
        warnings.warn(f"{error}; triton is taken", stacklevel=2)
        return False
    return True


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
    """Run the selective scan by mamba-ssm's CUDA kernel; arguments and result as in `selective_scan`.

    Raises:
        SettingsError: mamba-ssm is missing; an initial state is given, which the kernel does not support; or, in the
            backward pass, a gradient reaches the last state, which the kernel would ignore.
    """
    selective_scan_fn = import_kernel()
    if state is not None:
        raise SettingsError("the scan back end mamba_ssm has no initial state; choose triton or torch")
    # fp32 and steps of 1 are what the kernel takes of weights; the package sees to the tokens alone
    A = A.float().contiguous()
    D, bias = (None if t is None else t.float().contiguous() for t in (D, bias))
    B, C = (t.float().contiguous() if t.dim() == 2 else t for t in (B, C))
    result = selective_scan_fn(u, delta, A, B, C, D, z, bias, softplus, return_last_state)
    if not return_last_state:
        return cast(Tensor, result)
    y, last = result
    return y, cast(Tensor, _WithoutGradient.apply(last, y))


class _WithoutGradient(torch.autograd.Function):
    """Pass the last state on and refuse its gradient."""

    @staticmethod
    def forward(ctx: Any, last: Tensor, y: Tensor) -> Tensor:
        return last.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        raise SettingsError("the scan back end mamba_ssm has no gradient of the last state; choose triton or torch")
