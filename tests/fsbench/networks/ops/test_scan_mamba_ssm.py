"""The package mamba-ssm as a selective scan's back end, with a stand-in for its kernel."""

import os
import subprocess
import sys
import types
from unittest.mock import Mock

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.base.paths import REPOSITORY
from fsbench.methods.hmnet.mamba import SS2D, HybridMambaConfig
from fsbench.networks.ops import selective_scan as scans
from fsbench.networks.ops.selective_scan import selective_scan
from tests.fsbench.networks.ops.scan_inputs import inputs


@pytest.fixture
def mamba_ssm(monkeypatch):
    """A stand-in for the package, whose kernel needs a GPU: its signature, and what its kernel asks of arguments.
    Tensors on the CPU are let through to it."""

    def selective_scan_fn(
        u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False
    ):
        assert u.dtype in (torch.float32, torch.float16, torch.bfloat16)
        weights = [A, D, delta_bias, *(t for t in (B, C) if t.dim() == 2)]
        assert all(t.dtype == torch.float32 and t.is_contiguous() for t in weights if t is not None)
        variable = [t for t in (B, C) if t.dim() > 2]
        assert all(t.dtype == u.dtype for t in (delta, z, *variable) if t is not None)
        assert len({t.shape[1] if t.dim() == 4 else 1 for t in variable}) <= 1
        return selective_scan(
            u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state=return_last_state, backend="torch"
        )

    interface = types.SimpleNamespace(selective_scan_fn=Mock(wraps=selective_scan_fn))
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"):
        monkeypatch.setitem(sys.modules, name, interface)
    chosen = scans.choose_backend

    def choose(u, backend=None, stateless=False):
        return backend if backend == "mamba_ssm" else chosen(u, backend, stateless)

    monkeypatch.setattr(scans, "choose_backend", choose)
    return interface.selective_scan_fn


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


@pytest.mark.parametrize("bc", ["4d", "fixed"])
def test_mamba_ssm_gets_weights_without_gaps(mamba_ssm, bc):
    """Its kernel steps through them by 1."""
    x = inputs(bc=bc) | {"initial_state": None}
    expected = selective_scan(**x, backend="torch")
    for name in ("A", "D", "delta_bias", *(("B", "C") if bc == "fixed" else ())):
        x[name] = torch.stack([x[name], torch.full_like(x[name], torch.nan)], -1)[..., 0]
        assert not x[name].is_contiguous()
    torch.testing.assert_close(selective_scan(**x, backend="mamba_ssm"), expected)


def test_a_self_block_learns_the_same_with_mamba_ssm(mamba_ssm, monkeypatch):
    """Its scan has no initial state and needs no last one, so that the package takes it in training, too."""
    results = []
    for backend in ("torch", "mamba_ssm"):
        monkeypatch.setattr(scans, "choose_backend", lambda u, chosen=None, stateless=False, b=backend: chosen or b)
        torch.manual_seed(0)
        net = SS2D(8, HybridMambaConfig(states=3), hybrid=False)
        q, s = (torch.randn(2, 4, 4, 8).requires_grad_() for _ in range(2))
        out_q, out_s = net(q, s)
        (out_q.square().sum() + out_s.sum()).backward()
        results.append([out_q, out_s, q.grad, s.grad, *(p.grad for p in net.parameters())])
    assert mamba_ssm.call_count == 1
    torch.testing.assert_close(*results)


def test_what_the_package_mamba_ssm_lacks_is_said(mamba_ssm):
    x = inputs(length=5)
    with pytest.raises(SettingsError, match="has no initial state"):
        selective_scan(**x, backend="mamba_ssm")
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


@pytest.mark.slow(3)
def test_an_unusable_build_of_mamba_ssm_is_said(tmp_path):
    """Built for another torch or without CUDA it raises these where it is imported; a process of its own imports it."""
    package = tmp_path / "mamba_ssm" / "ops"
    package.mkdir(parents=True)
    (package / "selective_scan_interface.py").write_text("import expected\nraise expected.error\n")
    (tmp_path / "expected.py").touch()
    for module in ("mamba_ssm/__init__.py", "selective_scan_cuda.py"):
        (tmp_path / module).touch()
    code = (
        "import expected, torch\n"
        "from fsbench.base.errors import SettingsError\n"
        "from fsbench.networks.ops.selective_scan._mamba_ssm import is_usable, scan\n"
        "x = torch.ones(1, 1, 1)\n"
        "for error in (ImportError, OSError, RuntimeError):\n"
        "    expected.error = error(f'{error.__name__}: no kernel for this GPU')\n"
        "    is_usable.cache_clear()\n"
        "    assert not is_usable()\n"
        "    try:\n"
        "        scan(x, x, x[0], x, x, None, None, None, True, None, False)\n"
        "    except SettingsError as refusal:\n"
        "        print(refusal)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    for error in ("ImportError", "OSError", "RuntimeError"):
        words = f"the scan back end mamba_ssm cannot be imported ({error}: no kernel for this GPU)"
        assert f"UserWarning: {words}" in done.stderr and words in done.stdout, done.stderr
