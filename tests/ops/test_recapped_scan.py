"""The recapped scan equals the long one and the interception its definition, values and gradients."""

import pytest
import torch

from fsbench.ops.selective_scan.intercepted import intercept, intercept_materialised
from fsbench.ops.selective_scan.recapped import long_scan, recapped_scan
from tests.conftest import DEVICE, needs_triton

FAST = ["reference", "torch", pytest.param("triton", marks=needs_triton)]


def inputs(b=2, d=6, groups=2, n=3, windows=3, tokens=5, dtype=torch.float32, window=None, scale=1.0):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    per_token = [(b, d), (b, d), (b, groups, n), (b, groups, n)]
    support = [random(*shape, tokens) for shape in per_token]
    query = [random(*shape, windows, window or tokens) for shape in per_token]
    support[1], query[1] = support[1] * scale, query[1] * scale
    return [*support, *query, -random(d, n).exp(), random(d), random(d)]


def run(function, x, backend, device="cpu"):
    leaves = [t.clone().to(device).requires_grad_() for t in x]
    y_s, y_q, state = function(*leaves, True, backend=backend)
    weights = [torch.linspace(-1, 1, y.numel(), device=device, dtype=y.dtype).view_as(y) for y in (y_s, y_q)]
    ((y_s * weights[0]).sum() + (y_q * weights[1]).sum()).backward()
    return [t.detach().cpu() for t in (y_s, y_q, state, *(leaf.grad for leaf in leaves))]


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("tokens", "window"), [(5, 5), (20, 33), (1, 1)])
def test_the_shortcut_equals_the_long_scan(backend, tokens, window):
    x = inputs(tokens=tokens, window=window)
    found = run(recapped_scan, x, backend, DEVICE if backend == "triton" else "cpu")
    for value, expected in zip(found, run(long_scan, x, "reference"), strict=True):
        assert (value - expected).abs().max() <= 2e-5 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_the_shortcut_is_exact_in_double_precision(backend):
    x = inputs(dtype=torch.float64, windows=4, tokens=18)
    for value, expected in zip(run(recapped_scan, x, backend), run(long_scan, x, "reference"), strict=True):
        torch.testing.assert_close(value, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("backend", FAST[:2])
def test_large_steps_stay_finite(backend):
    x = inputs(scale=300)
    found = run(recapped_scan, x, backend)
    assert all(t.isfinite().all() for t in found)
    for value, expected in zip(found, run(long_scan, x, "reference"), strict=True):
        assert (value - expected).abs().max() <= 2e-5 * expected.abs().max().clamp(min=1)


def test_gradients_of_the_state_reach_the_segment():
    """The state that is returned is differentiable, although HMNet detaches it."""
    x = [t.double() for t in inputs(windows=2, tokens=4)]
    segment = [t.requires_grad_() for t in x[:4]]

    def state(*s):
        return recapped_scan(*s, *x[4:], True, backend="torch")[2]

    assert torch.autograd.gradcheck(state, segment, fast_mode=True)


def intercept_inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 5, 7), (2, 5, 7), (5, 3), (2, 3, 7), (2, 3, 7), (), (2, 5, 3)]
    x = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    x[1], x[2] = x[1].abs(), -x[2].exp()
    return x


def test_interception_equals_its_definition():
    x = intercept_inputs()
    torch.testing.assert_close(intercept(*x), intercept_materialised(*x), atol=1e-12, rtol=1e-12)
    x[5] = torch.randn(5, dtype=torch.float64)  # a skip for each channel
    torch.testing.assert_close(intercept(*x), intercept_materialised(*x), atol=1e-12, rtol=1e-12)


def test_gradients_of_the_interception_equal_numerical_ones():
    assert torch.autograd.gradcheck(intercept, [t.requires_grad_() for t in intercept_inputs()], fast_mode=True)


def test_bias_and_softplus_of_the_interception():
    u, delta, A, B, C, D, state = intercept_inputs()
    bias = torch.linspace(-3, 2, 5, dtype=torch.float64)
    step = torch.nn.functional.softplus(delta + bias[:, None])
    expected = intercept_materialised(u, step, A, B, C, D, state)
    torch.testing.assert_close(intercept(u, delta, A, B, C, D, state, bias, True), expected)


def test_the_interception_keeps_no_tensor_with_a_state_axis():
    sizes = []
    x = [t.requires_grad_() for t in intercept_inputs()]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        intercept(*x)
    assert max(sizes) == 2 * 5 * 7  # b d l, without n


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_the_long_scan():
    x = inputs(b=2, d=64, groups=4, n=16, windows=16, tokens=100)
    for value, expected in zip(run(recapped_scan, x, "triton", "cuda"), run(long_scan, x, "reference"), strict=True):
        assert (value - expected).abs().max() <= 5e-5 * expected.abs().max().clamp(min=1)
