"""Choice of the back end of a selective scan."""

import importlib.util
import os
import warnings
from collections.abc import Callable
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError, known_names
from fsbench.networks.ops.selective_scan import _blocks, _mamba_ssm, _reference

Backend = Literal["reference", "doubling", "torch", "triton", "mamba_ssm"]
UNORDERED = "mamba_ssm_selective_scan does not have a deterministic implementation; FSBENCH_SCAN=triton has one"
"""Warning in the form of torch's for its own kernels."""


def choose_backend(u: Tensor, backend: Backend | None = None, stateless: bool = False) -> Backend:
    """Return the name of the implementation of the selective scan for inputs like `u`.

    Args:
        u: inputs, whose device and dtype decide.
        backend: name of an implementation; None takes `$FSBENCH_SCAN`, else the fastest one that supports the call.
        stateless: whether the call needs no initial state and no gradient of the last state.

    Raises:
        SettingsError: the back end is unknown, or cannot run with this device and these packages.
    """
    if torch.compiler.is_exporting():  # the others are kernels, or write in place
        return "doubling"
    chosen = backend or os.environ.get("FSBENCH_SCAN") or _automatic(u, stateless)
    if chosen not in get_args(Backend):
        raise SettingsError(f"unknown selective-scan back end '{chosen}'{known_names(chosen, get_args(Backend))}")
    if chosen == "mamba_ssm" and not u.is_cuda:
        raise SettingsError(f"the scan back end mamba_ssm needs CUDA tensors, found {u.device.type}; choose torch")
    if chosen == "triton" and not _is_installed("triton"):
        raise SettingsError("the scan back end triton needs the package triton, which is not installed; choose torch")
    if chosen == "triton" and not (u.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"):
        raise SettingsError(
            f"the scan back end triton needs CUDA tensors, found {u.device.type}; choose torch, or set "
            "TRITON_INTERPRET=1 to try it slowly"
        )
    if chosen in ("triton", "mamba_ssm") and u.dtype == torch.float64:
        raise SettingsError(f"the scan back end {chosen} computes in fp32, found float64; choose torch")
    return cast(Backend, chosen)


def _automatic(u: Tensor, stateless: bool) -> Backend:
    """Return the fastest back end that is installed and exact enough."""
    if not u.is_cuda or u.dtype == torch.float64:
        return "torch"
    if stateless and _mamba_ssm.is_usable() and _may_be_unordered():
        return "mamba_ssm"
    return "triton" if _is_installed("triton") else "torch"


def _may_be_unordered() -> bool:
    """Return whether sums may come in any order, as those of mamba-ssm's backward pass do; tell it where torch would.

    `trainer.deterministic: true` refuses it; `warn` lets it pass with torch's own words, which records keep.
    """
    if not (torch.is_grad_enabled() and torch.are_deterministic_algorithms_enabled()):
        return True
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        return False
    warnings.warn(UNORDERED, stacklevel=2)
    return True


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def implementation(backend: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the scan function of fsbench's own implementation `backend`, with the arguments of `_reference.scan`."""
    if backend == "triton":  # which is optional
        from fsbench.networks.ops.selective_scan import _triton

        return cast(Callable[..., tuple[Tensor, Tensor]], _triton.Scan.apply)
    plain = {"reference": _reference.scan, "doubling": _reference.scan_by_doubling}
    return plain.get(backend) or cast(Callable[..., tuple[Tensor, Tensor]], _blocks.Scan.apply)
