"""All back ends of the selective scan compute the same numbers and the same gradients."""

import os
import subprocess
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from fsbench.errors import SettingsError
from fsbench.ops import selective_scan as scans
from fsbench.ops.selective_scan import _blocks, selective_scan
from fsbench.ops.selective_scan._backends import choose_backend
from tests.conftest import DEVICE, needs_triton

FAST = ["torch", pytest.param("triton", marks=needs_triton)]
NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")


def inputs(b=2, d=6, length=37, n=3, groups=2, dtype=torch.float32, scale=1.0, bc="4d"):
    generator = torch.Generator().manual_seed(0)

    def random(*shape, to=dtype):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(to)

    wide = torch.promote_types(dtype, torch.float32)
    shapes = {"4d": (b, groups, n, length), "3d": (b, n, length), "fixed": (d, n)}
    bc_dtype = wide if bc == "fixed" else dtype
    return {
        "u": random(b, d, length),
        "delta": random(b, d, length) * scale,
        "A": -torch.exp(0.5 * random(d, n, to=wide)),
        "B": random(*shapes[bc], to=bc_dtype),
        "C": random(*shapes[bc], to=bc_dtype),
        "D": random(d, to=wide),
        "z": random(b, d, length),
        "delta_bias": random(d, to=wide),
        "initial_state": random(b, d, n, to=wide),
    }


def plain(u, delta, A, B, C, D, z, delta_bias, initial_state):
    """The definition with a loop over every sample, channel and state."""
    b, d, length = u.shape
    y, last = torch.zeros_like(u), initial_state.clone()
    for i in range(b):
        for c in range(d):
            group = c // (d // B.shape[1])
            for t in range(length):
                x = delta[i, c, t] + delta_bias[c]
                step = torch.log1p(x.exp()) if x <= 20 else x
                for n in range(A.shape[1]):
                    inflow = step * u[i, c, t] * B[i, group, n, t]
                    last[i, c, n] = torch.exp(step * A[c, n]) * last[i, c, n] + inflow
                    y[i, c, t] += C[i, group, n, t] * last[i, c, n]
                y[i, c, t] += D[c] * u[i, c, t]
                y[i, c, t] *= z[i, c, t] * torch.sigmoid(z[i, c, t])
    return y, last


def run(x, backend, device="cpu"):
    """Outputs and all gradients of a loss that weighs every output and every entry of the last state differently."""
    leaves = {k: v.detach().clone().to(device).requires_grad_() for k, v in x.items()}
    y, last = selective_scan(**leaves, delta_softplus=True, return_last_state=True, backend=backend)
    loss = (y.float() * torch.linspace(-1, 1, y.numel(), device=device).view_as(y)).sum()
    (loss + (last * torch.linspace(1, 2, last.numel(), device=device).view_as(last)).sum()).backward()
    found = {"y": y.detach(), "last": last.detach(), **{k: v.grad for k, v in leaves.items()}}
    return {k: v.cpu() for k, v in found.items()}


def assert_near(found, expected, tol):
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        difference = (found[name].double() - value.double()).abs().max()
        assert difference <= tol * value.double().abs().max().clamp(min=1e-3), (name, difference)


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_values_equal_a_loop_over_every_number(backend):
    x = inputs(b=2, d=4, length=9, n=2)
    y, last = selective_scan(**x, delta_softplus=True, return_last_state=True, backend=backend)
    expected = plain(**{k: v.double() for k, v in x.items()})
    torch.testing.assert_close((y.double(), last.double()), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("length", [1, 16, 37, 130])  # one token, one block, an unfinished one, several chunks
def test_values_and_gradients_equal_the_reference(backend, length):
    x = inputs(b=1, n=2, length=length)
    assert_near(run(x, backend, DEVICE if backend == "triton" else "cpu"), run(x, "reference"), 2e-5)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("bc", "groups"), [("4d", 3), ("3d", 1), ("fixed", 1)])
def test_groups_and_fixed_matrices(backend, bc, groups):
    x = inputs(b=1, bc=bc, groups=groups, length=20)
    assert_near(run(x, backend, DEVICE if backend == "triton" else "cpu"), run(x, "reference"), 2e-5)


@pytest.mark.parametrize("backend", FAST)
def test_large_steps_stay_finite_and_exact(backend):
    """Deltas of hundreds, where a form with exp(-sum) would overflow; the state is forgotten at once."""
    x = inputs(b=1, n=2, scale=200, length=70)
    found = run(x, backend, DEVICE if backend == "triton" else "cpu")
    assert all(v.isfinite().all() for v in found.values())
    assert_near(found, run(x, "reference"), 2e-5)


def test_the_softplus_is_straight_above_20_also_in_double_precision():
    x = inputs(b=1, n=2, length=30, dtype=torch.float64)
    x["delta"] = torch.linspace(19.9, 20.3, 30, dtype=torch.float64).expand_as(x["delta"]) - x["delta_bias"][:, None]
    assert_near(run(x, "torch"), run(x, "reference"), 1e-13)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_gradients_equal_numerical_ones(backend):
    x = inputs(b=2, d=4, length=18, n=2, dtype=torch.float64)

    def call(*values):
        return selective_scan(
            **dict(zip(NAMES, values, strict=True)), delta_softplus=True, return_last_state=True, backend=backend
        )

    assert torch.autograd.gradcheck(call, [x[k].requires_grad_() for k in NAMES], fast_mode=True)


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_two_halves_with_the_state_handed_over_equal_the_whole(backend):
    device = DEVICE if backend == "triton" else "cpu"
    x = {k: v.to(device) for k, v in inputs(b=1, n=2, length=100).items()}
    per_token = ("u", "delta", "B", "C", "z")
    whole = selective_scan(**x, delta_softplus=True, return_last_state=True, backend=backend)
    first = {k: v[..., :41] if k in per_token else v for k, v in x.items()}
    second = {k: v[..., 41:] if k in per_token else v for k, v in x.items()}
    y1, state = selective_scan(**first, delta_softplus=True, return_last_state=True, backend=backend)
    second["initial_state"] = state
    y2, last = selective_scan(**second, delta_softplus=True, return_last_state=True, backend=backend)
    torch.testing.assert_close((torch.cat([y1, y2], 2), last), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", ["reference", *FAST])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_summed_in_single_precision(backend, dtype):
    """The output is rounded once: it equals the exact result of the rounded inputs to half a unit in the last place."""
    device = DEVICE if backend == "triton" else "cpu"
    x = {k: v.to(device) for k, v in inputs(b=1, n=2, dtype=dtype, length=70).items()}
    y, last = selective_scan(**x, delta_softplus=True, return_last_state=True, backend=backend)
    exact, state = selective_scan(
        **{k: v.double().cpu() for k, v in x.items()}, delta_softplus=True, return_last_state=True, backend="reference"
    )
    assert y.dtype == dtype and last.dtype == torch.float32
    error = (y.double().cpu() - exact).abs() / exact.abs().clamp(min=0.1)
    assert error.max() < torch.finfo(dtype).eps
    torch.testing.assert_close(last.double().cpu(), state, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backend", FAST)
def test_half_precision_gradients_have_the_inputs_dtype(backend):
    x = inputs(dtype=torch.bfloat16, length=40)
    single = {k: v.float() for k, v in x.items()}
    found = run(x, backend, DEVICE if backend == "triton" else "cpu")
    assert found["B"].dtype == torch.bfloat16 and found["A"].dtype == torch.float32
    assert_near({k: v.float() for k, v in found.items()}, run(single, "reference"), 0.02)


def test_autocast_changes_nothing():
    x = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(x, "torch")
    assert_near(found, run(x, "torch"), 0)


def test_options_may_be_absent():
    x = inputs(length=20)
    y = selective_scan(*(x[k] for k in NAMES[:5]), backend="torch")
    expected = selective_scan(*(x[k] for k in NAMES[:5]), backend="reference")
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_many_samples_are_scanned_in_parts(monkeypatch):
    x = inputs(b=5)
    whole = run(x, "torch")
    monkeypatch.setattr(_blocks, "BLOCK_NUMBERS", 2 * _blocks.TOKENS * x["A"].numel())
    assert_near(run(x, "torch"), whole, 1e-6)


def test_memory_of_the_torch_back_end_has_no_state_of_every_token():
    """What autograd keeps is the inputs and the states between blocks."""
    kept = []
    x = {k: v.requires_grad_() for k, v in inputs(d=8, n=16, length=320).items()}
    x["z"] = None
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        selective_scan(**x, delta_softplus=True, backend="torch")
    known = {v.data_ptr() for v in x.values() if v is not None}
    states = 2 * 8 * 16 * 320
    assert sum(t.numel() for t in kept if t.data_ptr() not in known) <= states / _blocks.TOKENS + 8 * 16


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"delta": torch.zeros(2, 6, 36)}, r"delta is \(2, 6, 36\), expected \(2, 6, 37\)"),
        ({"A": torch.zeros(6, 3, dtype=torch.complex64)}, "A is .* expected real"),
        ({"B": torch.zeros(2, 4, 3, 37)}, r"B is \(2, 4, 3, 37\), expected \(2, G, 3, 37\) with G a divisor of 6"),
        ({"C": torch.zeros(2, 2, 3, 37).half()}, "C is torch.float16, expected the dtype of u"),
        ({"C": torch.zeros(2, 3, 3, 37)}, "B has 2 groups and C 3"),
        ({"initial_state": torch.zeros(2, 6)}, r"initial_state is \(2, 6\), expected \(2, 6, 3\)"),
        ({"u": torch.zeros(2, 6, 0)}, "without empty dimensions"),
        ({"u": torch.zeros(2, 6, 37, dtype=torch.int64)}, "u is .* torch.int64, expected real"),
        ({"B": torch.zeros(2, 0, 3, 37)}, r"B is \(2, 0, 3, 37\), expected \(2, G, 3, 37\)"),
        ({"D": torch.zeros(6, dtype=torch.complex64)}, "D is torch.complex64 on cpu, expected real numbers on cpu"),
        ({"delta_bias": torch.zeros(6, device="meta")}, "delta_bias is torch.float32 on meta, expected real"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, words):
    with pytest.raises(SettingsError, match=words):
        selective_scan(**inputs() | change)


def test_the_environment_chooses_the_back_end(monkeypatch):
    monkeypatch.setenv("FSBENCH_SCAN", "cuda")
    with pytest.raises(SettingsError, match="unknown selective-scan back end 'cuda'; there are reference, torch"):
        selective_scan(**inputs())
    monkeypatch.setenv("FSBENCH_SCAN", "mamba_ssm")
    with pytest.raises(SettingsError, match="mamba_ssm needs CUDA tensors, found cpu"):
        selective_scan(**inputs())


def test_the_automatic_choice(monkeypatch):
    """mamba-ssm where it is installed and has what a call needs; Triton on other CUDA machines; torch elsewhere."""
    packages = {"triton", "mamba_ssm", "selective_scan_cuda"}
    monkeypatch.setattr("fsbench.ops.selective_scan._backends._installed", lambda name: name in packages)
    monkeypatch.delenv("FSBENCH_SCAN", raising=False)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    cuda = types.SimpleNamespace(is_cuda=True, dtype=torch.bfloat16)
    assert choose_backend(torch.zeros(1), stateless=True) == "torch"
    assert choose_backend(types.SimpleNamespace(is_cuda=True, dtype=torch.float64), stateless=True) == "torch"
    assert choose_backend(cuda, stateless=True) == "mamba_ssm" and choose_backend(cuda) == "triton"
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert choose_backend(cuda, stateless=True) == "triton"  # whose sums have an order
    with torch.no_grad():
        assert choose_backend(cuda, stateless=True) == "mamba_ssm"
    packages.remove("selective_scan_cuda")  # installed without its kernel
    with torch.no_grad():
        assert choose_backend(cuda, stateless=True) == "triton"
    packages.clear()
    assert choose_backend(cuda) == "torch"
    with pytest.raises(SettingsError, match="triton needs the package triton, which is not installed; choose torch"):
        choose_backend(cuda, "triton")
    packages.add("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(SettingsError, match="triton needs CUDA tensors, found cpu; choose torch"):
        choose_backend(torch.zeros(1), "triton")


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


def test_softplus_is_exact():
    x = torch.linspace(-80, 40, 100001)
    exact = F.softplus(x.double())
    assert ((_blocks._softplus(x).double() - exact) / exact).abs().max() < 3e-7


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "kernels"),
    [("_triton_kernels", {"ends", "chain", "scan", "backward"}), ("_triton_interception", {"read", "read_backward"})],
)
def test_kernels_compile_for_gpus_within_their_limits(module, kernels):
    """Ahead of time, in a process without the interpreter; no GPU is needed."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.fsbench.ops.ahead_of_time", f"fsbench.ops.selective_scan.{module}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "ImportError" in done.stderr:
        pytest.skip(f"this Triton has no such compiler interface: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    shared = {tuple(line.split()[:2]): int(line.split()[2]) for line in done.stdout.splitlines()}
    assert {name for name, _ in shared} == kernels and max(shared.values()) <= 99 * 1024


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", ["torch", "triton", "mamba_ssm"])
def test_cuda_equals_the_reference(backend):
    x = inputs(b=2, d=64, length=600, n=16, groups=4)
    if backend == "mamba_ssm":
        pytest.importorskip("selective_scan_cuda")
        x = {k: v.cuda() for k, v in x.items() if k != "initial_state"}
        found = selective_scan(**x, delta_softplus=True, backend=backend)
        expected = selective_scan(**x, delta_softplus=True, backend="reference")
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    else:
        assert_near(run(x, backend, "cuda"), run(x, "reference"), 5e-5)
