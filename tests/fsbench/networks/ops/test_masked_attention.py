"""The paths of the masked attention give the same numbers, and the fast ones hold little in memory."""

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.networks.ops import masked_attention as module
from fsbench.networks.ops.masked_attention import masked_attention
from tests.fsbench.networks.ops.gaps import with_gaps

B, C, T, TS, D, TD, HEADS = 4, 6, 7, 11, 16, 5, 8
FAST = ("packed",)


def inputs(dtype=torch.float64, grad=True):
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, D, T, TD), (B, C, T, TS), (2 * D, C), (2 * D,)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_(grad) for shape in shapes]


@pytest.fixture
def keep():
    """Samples that keep some, none, all, and one token."""
    mask = torch.rand(B, TS, generator=torch.Generator().manual_seed(1)) > 0.5
    mask[1], mask[2] = False, True
    mask[3] = torch.arange(TS) == 4
    return mask


@pytest.fixture(params=["whole", "small chunks"])
def chunks(request, monkeypatch):
    if request.param == "small chunks":
        monkeypatch.setattr(module, "PACKED_CHUNK", HEADS * TD * TS * 2)


def plain(q, x, weight, bias, keep):
    """Softmax attention written with loops over samples, positions and heads."""
    out = torch.zeros_like(q)
    e = D // HEADS
    for b in range(B):
        for t in range(T):
            tokens = x[b, :, t, keep[b]]
            k, v = (weight @ tokens + bias[:, None]).chunk(2)
            for h in range(HEADS):
                rows = slice(h * e, (h + 1) * e)
                if tokens.shape[1]:
                    out[b, rows, t] = v[rows] @ torch.softmax(q[b, rows, t].T @ k[rows], 1).T
    return out


@pytest.mark.parametrize("backend", ["reference", "filled", *FAST])
def test_values_equal_a_plain_loop(backend, keep, chunks):
    arguments = inputs(grad=False)
    torch.testing.assert_close(masked_attention(*arguments, keep, HEADS, backend), plain(*arguments, keep))


@pytest.mark.parametrize("backend", FAST)
def test_gradients_equal_numerical_ones(backend, keep, chunks):
    assert torch.autograd.gradcheck(lambda *a: masked_attention(*a, keep, HEADS, backend), inputs(), fast_mode=True)


@pytest.mark.parametrize("queries", [1, B])
@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_the_factors_of_a_correlation_stand_for_the_tokens(backend, queries, keep, chunks):
    """Values and the gradients of both factors, numerically."""
    q, _, weight, bias = inputs()
    generator = torch.Generator().manual_seed(2)
    shapes = [(queries, C, T, 3), (B, C, TS, 3)]
    factors = [torch.randn(shape, generator=generator, dtype=q.dtype).requires_grad_() for shape in shapes]

    def attend(q, query, support, weight, bias):
        return masked_attention(q, (query, support), weight, bias, keep, HEADS, backend)

    expected = plain(q, (factors[0] @ factors[1].mT).expand(B, -1, -1, -1), weight, bias, keep)
    torch.testing.assert_close(attend(q, *factors, weight, bias), expected)
    assert torch.autograd.gradcheck(attend, (q, *factors, weight, bias), fast_mode=True)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("size", [1.0, 30.0, 1e3])
def test_large_logits_neither_overflow_nor_vanish(backend, size, keep):
    """In fp32, with logits of all signs up to some ten thousands."""
    q, x, weight, bias = inputs(torch.float32, grad=False)
    exact = plain(*(t.double() for t in (q * size, x, weight, bias)), keep)
    found = masked_attention(q * size, x, weight, bias, keep, HEADS, backend)
    torch.testing.assert_close(found.double(), exact, atol=1e-4 * size**0.5, rtol=1e-4)


@pytest.mark.parametrize("backend", FAST)
def test_gradients_equal_the_reference_without_one_for_the_tokens(backend, keep):
    """Training needs none for the correlation, which comes from frozen features."""
    gradients = []
    for chosen in ("reference", backend):
        q, x, weight, bias = inputs()
        x.requires_grad_(False)
        masked_attention(q, x, weight, bias, keep, HEADS, chosen).square().sum().backward()
        assert x.grad is None
        gradients.append([q.grad, weight.grad, bias.grad])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("positions", [1, T])
def test_the_answer_may_take_the_place_of_its_queries(heads, positions, keep, chunks):
    """Where no gradient is wanted, and there alone; a sample that keeps nothing is 0 there, too."""
    q, x, weight, bias = inputs(grad=False)
    q, x = q[:, :, :positions].clone(), x[:, :, :positions]
    expected, before = masked_attention(q, x, weight, bias, keep, heads, "reference"), q.clone()
    kept = masked_attention(q, x, weight, bias, keep, heads, "packed", overwrite=True)  # gradients are on
    assert torch.equal(q, before)
    with torch.no_grad():
        found = masked_attention(q, x, weight, bias, keep, heads, "packed", overwrite=True)
    assert found.data_ptr() == q.data_ptr() and torch.equal(found, kept)
    torch.testing.assert_close(found, expected)


def test_removal_equals_filling_with_minus_a_billion(keep):
    """CST's form of the mask, where something is kept."""
    q, x, weight, bias = inputs(grad=False)
    k, v = torch.einsum("oc,bcts->bots", weight, x).add(bias[:, None, None]).chunk(2, 1)
    split = [z.unflatten(1, (HEADS, -1)) for z in (q, k, v)]
    logits = torch.einsum("bhetd,bhetm->bhtdm", split[0], split[1])
    logits = logits.masked_fill(~keep[:, None, None, None], -1e9)
    dense = torch.einsum("bhtdm,bhetm->bhetd", logits.softmax(-1), split[2]).flatten(1, 2)
    some = [0, 2, 3]
    torch.testing.assert_close(masked_attention(q, x, weight, bias, keep, HEADS)[some], dense[some])


@pytest.mark.parametrize("backend", ["reference", *FAST])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_near_the_full_precision(backend, dtype, keep):
    q, x, weight, bias = inputs(torch.float32)
    exact = masked_attention(q, x, weight, bias, keep, HEADS, backend)
    with torch.autocast("cpu", dtype=dtype):
        half = masked_attention(q, x, weight, bias, keep, HEADS, backend)
        half.float().square().sum().backward()
    assert half.dtype == dtype and weight.grad.dtype == torch.float32
    difference = float((half.float() - exact).detach().abs().max() / exact.detach().abs().max())
    assert difference < (0.04 if dtype == torch.bfloat16 else 0.005)


@pytest.mark.slow(2)
def test_half_precision_sums_of_many_chunks_stay_exact(keep, monkeypatch):
    """Hundreds of chunks add to the gradient of weight and bias; a sum in bfloat16 would stall."""
    monkeypatch.setattr(module, "PACKED_CHUNK", 1)  # one query position at a time
    generator = torch.Generator().manual_seed(0)
    q, weight = torch.randn(2, D, 300, 2, generator=generator), torch.randn(2 * D, C, generator=generator)
    x, bias = torch.rand(2, C, 300, TS, generator=generator), torch.randn(2 * D, generator=generator)
    gradients = []
    for enabled in (False, True):
        leaves = [t.clone().requires_grad_() for t in (weight, bias)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            masked_attention(q, x, *leaves, keep[2:], HEADS, "packed").float().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for exact, half in zip(*gradients, strict=True):
        assert half.dtype == torch.float32 and float((half - exact).norm() / exact.norm()) < 0.01


def test_packed_saves_only_its_inputs_and_output(keep):
    saved = []
    arguments = inputs()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        out = masked_attention(*arguments, keep, HEADS, "packed")
    known = {t.data_ptr() for t in (*arguments, keep, out)}
    assert {t.data_ptr() for t in saved} <= known


def test_the_environment_chooses_the_path(keep, monkeypatch):
    monkeypatch.setenv("FSBENCH_ATTENTION", "dense")
    with pytest.raises(SettingsError, match="unknown masked-attention back end 'dense'; there are: reference, packed"):
        masked_attention(*inputs(), keep, HEADS)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 2e-5), (torch.float16, 0.01), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("backend", FAST)
def test_cuda_equals_the_reference(backend, dtype, limit, strided, keep):
    """Values and gradients, against fp64 on the CPU."""
    results = []
    for device, kind, chosen in (("cpu", torch.float64, "reference"), ("cuda", dtype, backend)):
        leaves = [t.detach().to(dtype).to(device, kind).requires_grad_() for t in inputs(torch.float32)]
        given = [with_gaps(t) if strided and device == "cuda" else t for t in leaves]
        out = masked_attention(*given, keep.to(device), HEADS, chosen)
        out.double().square().sum().backward()
        results.append([out, *(leaf.grad for leaf in leaves)])
    for expected, value in zip(*results, strict=True):
        difference = (value.detach().double().cpu() - expected.detach()).abs().max()
        assert difference <= limit * expected.abs().max()
