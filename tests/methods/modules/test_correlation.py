"""The learners of CST and EMAT without gradients: one sample at a time, in chunks of query tokens."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fsbench.methods.emat import emat_learner
from fsbench.methods.modules import blockwise, halved_correlation
from fsbench.methods.modules import correlation as module
from fsbench.networks.ops import masked_attention
from tests.methods.modules.learners import LEARNERS

CHANNELS, SIDE, POSITIONS, SAMPLES = 24, 12, 49, 4


@pytest.fixture(params=["emat", "cst", pytest.param("emat_seg", marks=pytest.mark.slow)])
def net(request):
    """A learner whose norms and biases are not those of the start."""
    torch.manual_seed(0)
    net = LEARNERS[request.param](CHANNELS, SIDE)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return net


def inputs(net, dtype=torch.float32):
    """Features of one query, supports and masks: nothing, all, a corner and one pixel."""
    generator = torch.Generator().manual_seed(0)
    tokens = SIDE * SIDE + net.class_token
    query = torch.randn(1, CHANNELS, POSITIONS, 6, generator=generator, dtype=dtype)
    support = torch.randn(SAMPLES, CHANNELS, tokens, 6, generator=generator, dtype=dtype)
    masks = torch.zeros(SAMPLES, 60, 60)
    masks[1] = 1
    masks[2, :20, :40] = 2
    masks[3, 31, 29] = 1
    return F.normalize(query, dim=-1), F.normalize(support, dim=-1), masks


def answers(net, *arguments):
    """The learner's outputs that are not None."""
    query, support, masks = arguments
    return [t for t in net(query, support, net.kept_by_block(masks)) if t is not None]


def set_chunk(monkeypatch, net, positions):
    """Let every chunk have about so many query tokens."""
    size = positions * CHANNELS * (SIDE * SIDE + net.class_token)
    for where, name in (
        (module, "CHUNK"),
        (halved_correlation, "CHUNK"),
        (masked_attention, "PACKED_CHUNK"),
        (blockwise, "BLOCK"),
    ):
        monkeypatch.setattr(where, name, size)


def whole_answers(net, query, support, masks):
    """The learner's outputs from the correlation as a whole, by its modules alone."""
    return [
        t.detach() for t in net.decode(net.transform(query @ support.mT, net.kept_by_block(masks))) if t is not None
    ]


@pytest.mark.parametrize("positions", [1, 10])
@pytest.mark.parametrize("backend", ["packed", "reference"])
def test_chunks_equal_the_whole_correlation(net, monkeypatch, positions, backend):
    monkeypatch.setenv("FSBENCH_ATTENTION", backend)
    set_chunk(monkeypatch, net, positions)
    net.double()
    arguments = inputs(net, torch.float64)
    plain = whole_answers(net, *arguments)
    with torch.no_grad():
        found = answers(net, *arguments)
    torch.testing.assert_close(found, plain, atol=1e-12, rtol=1e-10)


def test_a_sample_does_not_depend_on_the_others(net):
    query, support, masks = inputs(net)
    with torch.no_grad():
        together = answers(net, query, support, masks)
        apart = [answers(net, query, support[i, None], masks[i, None]) for i in range(SAMPLES)]
    for whole, *single in zip(together, *apart, strict=True):
        assert torch.equal(whole, torch.cat(single))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_chunks_equal_the_whole_correlation_in_half_precision(net, dtype):
    arguments = inputs(net)
    with torch.autocast("cpu", dtype=dtype):
        plain = whole_answers(net, *arguments)
        with torch.no_grad():
            found = answers(net, *arguments)
    assert [t.dtype for t in found] == [t.dtype for t in plain]
    largest = max(float(t.abs().max()) for t in plain)
    for a, b in zip(found, plain, strict=True):
        assert float((a - b).abs().max()) < (0.05 if dtype == torch.bfloat16 else 0.01) * largest


def test_the_whole_correlation_is_never_stored(net, monkeypatch):
    """Nothing as large is, and nothing grows with the samples."""
    set_chunk(monkeypatch, net, 1)
    query, support, masks = inputs(net)
    whole = 4 * CHANNELS * POSITIONS * support.shape[2]  # bytes
    inputs_of_it = {t.untyped_storage().data_ptr() for t in (query, support, masks)}

    class Largest(TorchDispatchMode):
        """Remember the bytes of the largest tensor that an operation made."""

        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            storages = [t.untyped_storage() for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
            sizes = [s.nbytes() for s in storages if s.data_ptr() not in inputs_of_it]
            self.size = max(self.size, *sizes, 0)
            return result

    found = []
    for samples in (slice(1, 2), slice(None)):  # the second keeps all its tokens
        with torch.no_grad(), Largest() as largest:
            net(query, support[samples], net.kept_by_block(masks[samples]))
        found.append(largest.size)
    with Largest() as plain:
        whole_answers(net, query, support[:1], masks[:1])
    assert plain.size >= whole
    assert found[0] == found[1] < whole


def test_means_far_from_zero_lose_no_digits(monkeypatch):
    """Norms by blocks, against torch's in float64, where the mean is a thousand times the deviation."""
    monkeypatch.setattr(blockwise, "BLOCK", 8 * 40)
    torch.manual_seed(0)
    block = emat_learner(CHANNELS, SIDE).double().corrtransformer[1]
    short, attended = torch.randn(1, 32, POSITIONS, 5) + 1000, torch.randn(1, 16, POSITIONS, 5) + 1000
    expected = block.ff(block.attn.combine(short.double(), attended.double())).detach()
    block.float()
    with torch.no_grad():
        found = block.finish(short, attended)
    assert float((found - expected).abs().max()) < 1e-3 * float(expected.abs().max())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_by_blocks_in_half_precision(dtype):
    """Against torch's in float64, where the sum of squares is more than fp16 holds."""
    torch.manual_seed(0)
    block = emat_learner(CHANNELS, SIDE).to(dtype).corrtransformer[1]
    short, attended = (8 * torch.randn(1, channels, 512, 4, dtype=dtype) for channels in (32, 16))
    wide = copy.deepcopy(block).double()
    with torch.no_grad():
        expected = wide.ff(wide.attn.combine(short.double(), attended.double()))
        found = block.finish(short, attended)
    assert found.dtype == dtype
    eps = torch.finfo(dtype).eps
    assert float((found - expected).abs().max()) < 8 * eps * float(expected.abs().max())
