"""The interception equals its definition, values and gradients; arguments of the recapped scan that do not fit."""

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.networks.ops.selective_scan.interception import intercept
from fsbench.networks.ops.selective_scan.recapped_scan import long_scan, recapped_scan
from tests.conftest import DEVICE, needs_triton
from tests.fsbench.networks.ops.gaps import with_gaps

FAST = ["reference", "torch", "doubling", pytest.param("triton", marks=needs_triton)]


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


def test_windows_that_do_not_fit_are_named():
    x = inputs()
    axes = r"expected \(b, D, T\) and \(b, D, W, Tq\)"
    with pytest.raises(SettingsError, match=rf"u_q \(2, 6, 15\) torch.float32, {axes}"):
        recapped_scan(*x[:4], x[4].flatten(2), *x[5:])
    with pytest.raises(SettingsError, match=r"delta_q has \(W, Tq\) of \(2, 5\), expected \(3, 5\) as u_q"):
        recapped_scan(*x[:5], x[5][:, :, :2], *x[6:])
    with pytest.raises(SettingsError, match=r"B_q has \(W, Tq\) of \(5, 3\), expected \(3, 5\) as u_q"):
        recapped_scan(*x[:6], x[6].mT, *x[7:])  # as many tokens in all
    with pytest.raises(SettingsError, match=r"u_s is \(4, 6, .*\) torch.float32 and u_q \(2, 6, "):
        recapped_scan(torch.cat([x[0], x[0]]), *x[1:])  # supports of more samples than there are
    with pytest.raises(SettingsError, match=r"B_s is .*torch.float32 and B_q .*torch.float64"):
        recapped_scan(*x[:6], x[6].double(), *x[7:])
    with pytest.raises(SettingsError, match="B has 4 groups, C 2; expected the same number"):
        recapped_scan(
            *x[:2], *(t.repeat_interleave(2, 1) if i % 4 == 2 else t for i, t in enumerate(x[2:8], 2)), *x[8:]
        )


def intercept_inputs(b=2, d=5, length=7, n=3, dtype=torch.float64, skip=()):
    generator = torch.Generator().manual_seed(1)
    shapes = [(b, d, length), (b, d, length), (d, n), (b, n, length), (b, n, length), skip, (b, d, n), (d,)]
    x = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    x[2] = -x[2].exp()
    return x


def defined(u, delta, A, B, C, D, state, bias, softplus):
    """Token by token: a step of the scan from the same state."""
    step = delta + bias[:, None]
    step = torch.nn.functional.softplus(step) if softplus else step
    outputs = []
    for t in range(u.shape[2]):
        after = torch.exp(step[:, :, t, None] * A) * state + (step * u)[:, :, t, None] * B[:, None, :, t]
        outputs.append(torch.einsum("bdn,bn->bd", after, C[..., t]) + D * u[:, :, t])
    return torch.stack(outputs, 2)


def outcome(function, x, softplus, **options):
    leaves = [t.clone().requires_grad_() for t in x]
    y = function(*leaves, softplus, **options)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view_as(y)).sum().backward()
    return [y.detach().cpu(), *(leaf.grad.cpu() for leaf in leaves)]


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("shape", "skip", "softplus"),
    [((2, 5, 7, 3), (), True), ((1, 18, 70, 2), (18,), True), ((3, 1, 1, 1), (1,), False), ((2, 3, 20, 4), (), False)],
)
def test_interception_equals_steps_of_the_scan(backend, shape, skip, softplus):
    """Values and gradients, also over several tiles of channels and tokens."""
    x = intercept_inputs(*shape, skip=skip)
    if not softplus:
        x[1], x[7] = x[1].abs(), x[7].abs()
    device = DEVICE if backend == "triton" else "cpu"
    found = outcome(intercept, [t.float().to(device) for t in x], softplus, backend=backend)
    for value, expected in zip(found, outcome(defined, x, softplus), strict=True):
        assert (value - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_interception_of_halves_is_rounded_once(dtype):
    x = intercept_inputs(dtype=dtype)
    y = intercept(*x, True, backend="torch")
    exact = defined(*(t.double() for t in x), True)
    assert y.dtype == dtype
    assert ((y.double() - exact).abs() / exact.abs().clamp(min=0.1)).max() < torch.finfo(dtype).eps


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({1: torch.zeros(2, 5, 6)}, r"delta is \(2, 5, 6\), expected \(2, 5, 7\)"),
        ({3: torch.zeros(2, 1, 3, 7)}, r"B and C have 4 and 3 dimensions, expected \(b, n, l\)"),
        ({6: torch.zeros(2, 5)}, r"state is \(2, 5\), expected \(2, 5, 3\)"),
    ],
)
def test_arguments_of_the_interception_that_do_not_fit_are_named(change, words):
    x = intercept_inputs(dtype=torch.float32)
    with pytest.raises(SettingsError, match=words):
        intercept(*(change.get(i, t) for i, t in enumerate(x)), True)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "shape",
    [
        {"b": 2, "d": 64, "groups": 4, "n": 16, "windows": 16, "tokens": 100},
        {"b": 1, "d": 1, "groups": 1, "n": 1, "windows": 1, "tokens": 1},
        {"b": 1, "d": 6, "groups": 2, "n": 3, "windows": 3, "tokens": 65, "window": 33},
    ],
)
def test_cuda_equals_the_long_scan(shape):
    x = inputs(**shape)
    for value, expected in zip(run(recapped_scan, x, "triton", "cuda"), run(long_scan, x, "reference"), strict=True):
        assert (value - expected).abs().max() <= 5e-5 * expected.abs().max().clamp(min=1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 64, 300, 16), (1, 1, 1, 1), (3, 17, 65, 3)])
def test_the_interception_on_cuda_equals_steps_of_the_scan(shape, dtype):
    """Also where the arguments have gaps between their numbers."""
    x = [t.to(dtype) for t in intercept_inputs(*shape)]
    expected = outcome(defined, [t.double() for t in x], True)

    def strided(*leaves, backend):
        return intercept(*(with_gaps(t) for t in leaves[:-1]), leaves[-1], backend=backend)

    for function in (intercept, strided):
        for value, exact in zip(
            outcome(function, [t.cuda() for t in x], True, backend="triton"), expected, strict=True
        ):
            limit = 5e-5 if dtype == torch.float32 else 0.03
            assert (value.double() - exact).abs().max() <= limit * exact.abs().max().clamp(min=1)
