"""The package mamba-ssm as a selective scan's back end, with a stand-in for its kernel."""

import sys
import types

import pytest
import torch

from fsbench.errors import SettingsError
from fsbench.ops import selective_scan as scans
from fsbench.ops.selective_scan import selective_scan
from tests.fsbench.ops.scan_inputs import inputs


@pytest.fixture
def mamba_ssm(monkeypatch):
    """A stand-in for the package, whose kernel needs a GPU: its signature, and what its kernel asks of arguments.
    Tensors on the CPU are let through to it."""

    def selective_scan_fn(
        u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False
    ):
        assert u.dtype in (torch.float32, torch.float16, torch.bfloat16)
        weights = [A, D, delta_bias, *(t for t in (B, C) if t.dim() == 2)]
        assert all(t.dtype == torch.float32 for t in weights if t is not None)
        variable = [t for t in (B, C) if t.dim() > 2]
        assert all(t.dtype == u.dtype for t in (delta, z, *variable) if t is not None)
        assert len({t.shape[1] if t.dim() == 4 else 1 for t in variable}) <= 1
        return selective_scan(
            u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state=return_last_state, backend="torch"
        )

    interface = types.SimpleNamespace(selective_scan_fn=selective_scan_fn)
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"):
        monkeypatch.setitem(sys.modules, name, interface)
    chosen = scans.choose_backend

    def choose(u, backend=None, stateless=False):
        return backend if backend == "mamba_ssm" else chosen(u, backend, stateless)

    monkeypatch.setattr(scans, "choose_backend", choose)


@pytest.mark.parametrize("bc", ["4d", "3d", "fixed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mamba_ssm_gets_what_its_kernel_takes(mamba_ssm, bc, dtype):
    x = inputs(bc=bc, dtype=dtype) | {"initial_state": None}
    x["A"], x["D"] = x["A"].double(), x["D"].to(dtype)
    if bc != "fixed":
        x["B"] = inputs(bc="3d", dtype=dtype)["B"]  # one group beside C's
    found = selective_scan(**x, delta_softplus=True, return_last_state=True, backend="mamba_ssm")
    expected = selective_scan(**x, delta_softplus=True, return_last_state=True, backend="torch")
    torch.testing.assert_close(found, expected)


def test_what_the_package_mamba_ssm_lacks_is_said(mamba_ssm):
    x = inputs(length=5)
    with pytest.raises(SettingsError, match="has no initial state"):
        selective_scan(**x, backend="mamba_ssm")
    with pytest.raises(SettingsError, match="computes in fp32, found float64"):
        selective_scan(**{k: v.double() for k, v in x.items()}, backend="mamba_ssm")
    x |= {"u": x["u"].requires_grad_(), "initial_state": None}
    y, last = selective_scan(**x, return_last_state=True, backend="mamba_ssm")
    y.sum().backward()
    assert x["u"].grad is not None
    with pytest.raises(SettingsError, match="no gradient of the last state"):
        last.sum().backward()


def test_a_missing_mamba_ssm_is_said(mamba_ssm, monkeypatch):
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.selective_scan_interface", None)
    x = inputs() | {"initial_state": None}
    with pytest.raises(SettingsError, match=r"cannot be imported .* install it with make cuda"):
        selective_scan(**x, backend="mamba_ssm")
