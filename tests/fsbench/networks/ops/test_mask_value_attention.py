"""The paths of the attention with a mask as value give the same numbers, and the fast one holds little in memory."""

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.networks.ops import mask_value_attention as module
from fsbench.networks.ops.mask_value_attention import mask_value_attention
from tests.fsbench.networks.ops.gaps import with_gaps

B, C, T, TS, HEADS = 3, 16, 7, 11, 4
FAST = ("chunked", "fused")


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, C, T), (B, C, TS), (B, TS)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.fixture(params=[2**18, 3 * T * TS, 2 * TS, 1])
def chunks(request, monkeypatch):
    """All at once, some heads, some positions of a head, one position."""
    monkeypatch.setattr(module, "CHUNK", request.param)


def plain(q, k, value):
    """The definition, written with loops."""
    d = C // HEADS
    out = torch.zeros(B, T, dtype=q.dtype)
    for b in range(B):
        for t in range(T):
            for h in range(HEADS):
                rows = slice(h * d, (h + 1) * d)
                weights = torch.softmax(q[b, rows, t] @ k[b, rows] / d**0.5, 0)
                out[b, t] += weights @ value[b] / HEADS
    return out


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_values_equal_a_plain_loop(backend, chunks):
    arguments = inputs()
    torch.testing.assert_close(mask_value_attention(*arguments, HEADS, 0.0, backend), plain(*arguments))


@pytest.mark.parametrize("scale", [1, 200])  # of logits whose exponentials overflow where they are not shifted
def test_parts_of_the_keys_join_to_all(chunks, scale):
    q, k, value = (t.detach() for t in inputs())
    q = scale * q
    parts = [
        module.partial_average(q, k[..., own], value[:, own], HEADS) for own in (slice(4), slice(4, 5), slice(5, TS))
    ]
    joined = parts[0].join(parts[1]).join(parts[2])
    whole = module.partial_average(q, k, value, HEADS)
    torch.testing.assert_close(joined, whole)
    torch.testing.assert_close(joined.value.mean(1), plain(q, k, value))


@pytest.mark.parametrize("backend", FAST)
def test_gradients_equal_numerical_ones(backend, chunks):
    assert torch.autograd.gradcheck(lambda *a: mask_value_attention(*a, HEADS, 0.0, backend), inputs(), fast_mode=True)


@pytest.mark.parametrize("dropout", [0.5, 0.3])
def test_dropout_is_the_same_in_both_paths_with_its_gradients(dropout, chunks):
    results = []
    for backend in ("reference", "chunked"):
        torch.manual_seed(7)
        arguments = inputs()
        out = mask_value_attention(*arguments, HEADS, dropout, backend)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append([out, *(t.grad for t in arguments)])
    torch.testing.assert_close(*results)
    assert not torch.allclose(results[0][0], plain(*inputs()))


@pytest.mark.parametrize("dropout", [0.5, 0.3])
def test_dropout_keeps_the_mean_and_differs_from_call_to_call(dropout):
    torch.manual_seed(0)
    q, k, value = (t.detach() for t in inputs(torch.float32))
    drawn = torch.stack([mask_value_attention(q, k, value, HEADS, dropout, "chunked") for _ in range(400)])
    assert not torch.equal(drawn[0], drawn[1])
    error = (drawn.mean(0) - plain(q, k, value)).abs() / (drawn.std(0) / 20)
    assert float(error.max()) < 5  # standard errors


def test_the_value_needs_no_gradient():
    q, k, value = inputs()
    mask_value_attention(q, k, value.detach(), HEADS, 0.5, "chunked").sum().backward()
    assert q.grad is not None and value.grad is None


def test_what_is_saved_grows_with_the_tokens_not_with_their_pairs():
    saved = []
    arguments = inputs()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        mask_value_attention(*arguments, HEADS, 0.5, "chunked")
    assert sorted(t.numel() for t in saved) == sorted([B * C * T, B * C * TS, B * TS, B * HEADS * T])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_autocast_computes_near_the_full_precision(backend, dtype):
    q, k, value = inputs(torch.float32)
    exact = mask_value_attention(q, k, value, HEADS, 0.0, backend)
    with torch.autocast("cpu", dtype=dtype):
        half = mask_value_attention(q, k, value, HEADS, 0.0, backend)
        half.float().sum().backward()
    assert half.dtype == dtype and q.grad.dtype == torch.float32
    half, exact = half.detach().float(), exact.detach()
    assert float((half - exact).abs().max() / exact.abs().max()) < (0.04 if dtype == torch.bfloat16 else 0.01)


def test_the_environment_chooses_the_path(monkeypatch):
    monkeypatch.setenv("FSBENCH_MASK_ATTENTION", "dense")
    with pytest.raises(SettingsError, match="unknown mask-value attention 'dense'; there are: reference, chunked"):
        mask_value_attention(*inputs(), HEADS)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 2e-5), (torch.float16, 0.01), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("heads", [HEADS, C])  # heads of one channel, too
@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_cuda_equals_the_reference_in_double_precision(backend, heads, dtype, limit, strided):
    """Values and gradients, against fp64 on the CPU."""
    results = []
    for device, kind, chosen in (("cpu", torch.float64, "reference"), ("cuda", dtype, backend)):
        leaves = [t.detach().to(dtype).to(device, kind).requires_grad_() for t in inputs()]
        given = [with_gaps(t) if strided and device == "cuda" else t for t in leaves]
        out = mask_value_attention(*given, heads, 0.0, chosen)
        out.double().square().sum().backward()
        results.append([out, *(leaf.grad for leaf in leaves)])
    for expected, value in zip(*results, strict=True):
        difference = (value.detach().double().cpu() - expected.detach()).abs().max()
        assert difference <= limit * expected.abs().max()
