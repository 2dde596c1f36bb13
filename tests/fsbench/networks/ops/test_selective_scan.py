"""The selective scan beside its numbers (`test_scan_properties`): large steps, states handed over, memory, CUDA."""

import pytest
import torch

from fsbench.networks.ops.selective_scan import _blocks, selective_scan
from tests.conftest import DEVICE
from tests.fsbench.networks.ops.scan_inputs import FAST, assert_near, inputs, run


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


def test_autocast_changes_nothing():
    x = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(x, "torch")
    assert_near(found, run(x, "torch"), 0)


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


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2.5e-7), (torch.float64, 1e-15)])
def test_the_softplus_of_blocks_keeps_the_digits_of_small_steps(dtype, error):
    x = torch.cat([torch.linspace(-80, 60, 20001), torch.tensor([200.0, 1000.0])]).to(dtype)
    expected = torch.nn.functional.softplus(x.double())
    torch.testing.assert_close(_blocks._softplus(x).double(), expected, rtol=error, atol=0)
