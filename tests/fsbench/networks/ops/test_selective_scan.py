"""All back ends of the selective scan compute the same numbers and the same gradients."""

import pytest
import torch

from fsbench.networks.ops.selective_scan import _blocks, selective_scan
from tests.conftest import DEVICE
from tests.fsbench.networks.ops.scan_inputs import FAST, NAMES, assert_near, inputs, run


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("length", [1, 130])  # one token; several chunks, the last unfinished
def test_values_and_gradients_equal_the_reference(backend, length):
    x = inputs(b=1, n=2, length=length)
    assert_near(run(x, backend, DEVICE if backend == "triton" else "cpu"), run(x, "reference"), 2e-5)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("bc", "groups"), [("4d", 3), ("3d", 1), ("fixed", 1)])
def test_groups_and_fixed_matrices(backend, bc, groups):
    x = inputs(b=1, bc=bc, groups=groups, length=9)
    assert_near(run(x, backend, DEVICE if backend == "triton" else "cpu"), run(x, "reference"), 2e-5)


@pytest.mark.parametrize("backend", FAST)
def test_large_steps_stay_finite_and_exact(backend):
    """Deltas of hundreds, where a form with exp(-sum) would overflow; the state is forgotten at once."""
    x = inputs(b=1, n=2, scale=200, length=20)
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


@pytest.mark.parametrize("backend", ["reference", "doubling", *FAST])
def test_two_halves_with_the_state_handed_over_equal_the_whole(backend):
    device = DEVICE if backend == "triton" else "cpu"
    x = {k: v.to(device) for k, v in inputs(b=1, n=2, length=40).items()}
    per_token = ("u", "delta", "B", "C", "z")
    whole = selective_scan(**x, delta_softplus=True, return_last_state=True, backend=backend)
    first = {k: v[..., :17] if k in per_token else v for k, v in x.items()}
    second = {k: v[..., 17:] if k in per_token else v for k, v in x.items()}
    y1, state = selective_scan(**first, delta_softplus=True, return_last_state=True, backend=backend)
    second["initial_state"] = state
    y2, last = selective_scan(**second, delta_softplus=True, return_last_state=True, backend=backend)
    torch.testing.assert_close((torch.cat([y1, y2], 2), last), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", ["reference", *FAST])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_summed_in_single_precision(backend, dtype):
    """The output is rounded once: it equals the exact result of the rounded inputs to half a unit in the last place."""
    device = DEVICE if backend == "triton" else "cpu"
    x = {k: v.to(device) for k, v in inputs(b=1, n=2, dtype=dtype, length=20).items()}
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
    x = inputs(b=1, n=2, dtype=torch.bfloat16, length=20)
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
    for samples, tokens in ((5, 3), (2, 8), (1, 1)):
        monkeypatch.setattr(_blocks, "FEWEST", tokens)
        monkeypatch.setattr(_blocks, "MOST", tokens)
        monkeypatch.setattr(_blocks, "BLOCK_NUMBERS", samples * tokens * x["A"].numel())
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
    assert sum(t.numel() for t in kept if t.data_ptr() not in known) <= states / _blocks.MOST + 2 * 8 * 16


CUDA_SHAPES = [
    {"b": 2, "d": 64, "length": 600, "n": 16, "groups": 4},
    {"b": 1, "d": 1, "length": 1, "n": 1, "groups": 1},  # a width of one everywhere
    {"b": 3, "d": 6, "length": 65, "n": 5, "groups": 2, "bc": "fixed"},
    {"b": 1, "d": 40, "length": 130, "n": 17, "groups": 1, "bc": "3d", "scale": 200},
]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape", CUDA_SHAPES)
@pytest.mark.parametrize("backend", ["torch", "triton", "mamba_ssm"])
def test_cuda_equals_the_reference(backend, shape, strided):
    """Values and gradients, of arguments with and without gaps between their numbers."""
    x = inputs(**shape)
    if backend == "mamba_ssm":
        pytest.importorskip("selective_scan_cuda")
        x["initial_state"] = None
    assert_near(run(x, backend, "cuda", strided), run(x, "reference"), 1e-4 if backend == "mamba_ssm" else 5e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", CUDA_SHAPES[:3])
@pytest.mark.parametrize("backend", ["torch", "triton", "mamba_ssm"])
def test_halves_on_cuda_are_near_the_reference(backend, shape, dtype):
    x = inputs(**shape, dtype=dtype)
    if backend == "mamba_ssm":
        pytest.importorskip("selective_scan_cuda")
        x["initial_state"] = None
    single = {k: None if v is None else v.float() for k, v in x.items()}
    found = {k: v.float() for k, v in run(x, backend, "cuda", strided=True).items()}
    assert_near(found, run(single, "reference"), 0.03)


def test_the_cuda_tests_work_on_the_cpu():
    """Their shapes, gaps and absent states, by the back end that needs no GPU."""
    for shape in CUDA_SHAPES[1:3]:
        x = inputs(**shape)
        assert_near(run(x, "torch", strided=True), run(x, "reference"), 2e-5)
        x["initial_state"] = None
        assert "initial_state" not in run(x, "torch")
