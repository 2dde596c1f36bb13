"""The learners of CST and EMAT beside their goldens: no path stores the correlation, and each gives what the plain one
does, also in half precision and with gradients.
"""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fsbench.methods.cst import cst_learner
from fsbench.methods.emat import emat_learner
from fsbench.methods.modules import halved_correlation
from fsbench.networks.ops import masked_attention

LEARNERS = {"emat": emat_learner, "emat_seg": partial(emat_learner, class_token=False), "cst": cst_learner}
CHANNELS, SIDE, POSITIONS, SAMPLES = 24, 12, 49, 4


OFTEN = ["emat", pytest.param("emat_seg", marks=pytest.mark.slow(1)), "cst"]


@pytest.fixture(params=OFTEN)
def net(request):
    """A learner whose norms and biases are not those of the start."""
    torch.manual_seed(0)
    net = LEARNERS[request.param](CHANNELS, SIDE)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return net


def inputs(net, queries=1, dtype=torch.float32):
    """Features of queries and supports, and masks: nothing, all, a corner and one pixel."""
    generator = torch.Generator().manual_seed(0)
    tokens = SIDE * SIDE + net.class_token
    query = torch.randn(queries, CHANNELS, POSITIONS, 6, generator=generator, dtype=dtype)
    support = torch.randn(SAMPLES, CHANNELS, tokens, 6, generator=generator, dtype=dtype)
    masks = torch.zeros(SAMPLES, 60, 60)
    masks[1] = 1
    masks[2, :20, :40] = 2
    masks[3, 31, 29] = 1
    return F.normalize(query, dim=-1), F.normalize(support, dim=-1), net.kept_by_block(masks)


def whole_answers(net, query, support, kept):
    """The learner's outputs from the correlation as a whole."""
    return [t for t in net.decode(net.transform(query @ support.mT, kept)) if t is not None]


def outcome(net, answers, *leaves):
    """A loss of the answers, and its gradients."""
    loss = sum((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum() for y in answers)
    return [loss.detach(), *torch.autograd.grad(loss, [*net.parameters(), *leaves])]


@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.slow(4)), 4000], ids=["single tokens", "some"])
@pytest.mark.parametrize(("queries", "frozen"), [(1, True), (SAMPLES, False)])
def test_answers_and_gradients_are_those_of_the_whole_correlation(net, queries, frozen, chunk, monkeypatch):
    """Frozen features never have their correlation stored; features that want a gradient have, and agree as well."""
    monkeypatch.setattr(halved_correlation, "CHUNK", chunk)
    monkeypatch.setattr(masked_attention, "PACKED_CHUNK", chunk)
    net.double()
    query, support, kept = inputs(net, queries, torch.float64)
    leaves = [] if frozen else [query.requires_grad_(), support.requires_grad_()]
    answers = [t for t in net(query, support, kept) if t is not None]
    with torch.no_grad():
        alone = [t for t in net(query, support, kept) if t is not None]
    torch.testing.assert_close(alone, answers, atol=1e-12, rtol=1e-10)
    expected = outcome(net, whole_answers(net, query, support, kept), *leaves)
    torch.testing.assert_close(outcome(net, answers, *leaves), expected, atol=1e-9, rtol=1e-8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow(1))])
def test_half_precision_is_that_of_the_whole_correlation(net, dtype):
    arguments = inputs(net)
    with torch.autocast("cpu", dtype=dtype), torch.no_grad():
        plain = whole_answers(net, *arguments)
        found = [t for t in net(*arguments) if t is not None]
    assert [t.dtype for t in found] == [t.dtype for t in plain]
    largest = max(float(t.abs().max()) for t in plain)
    for a, b in zip(found, plain, strict=True):
        assert float((a - b).abs().max()) < (0.05 if dtype == torch.bfloat16 else 0.01) * largest


class Largest(TorchDispatchMode):
    """Remember the bytes of the largest tensor that an operation made."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [t.untyped_storage().nbytes() for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        self.size = max(self.size, *sizes, 0)
        return result


@pytest.mark.parametrize("training", [pytest.param(False, marks=pytest.mark.slow(1)), True])
@pytest.mark.parametrize("name", OFTEN)
def test_the_whole_correlation_is_never_stored(name, training, monkeypatch):
    """Nothing as large is, in the backward pass either."""
    monkeypatch.setattr(halved_correlation, "CHUNK", 1)
    monkeypatch.setattr(masked_attention, "PACKED_CHUNK", 1)
    net = LEARNERS[name](16 * CHANNELS, SIDE)  # so many that the layers behind are smaller
    query, support, kept = inputs(net)
    query, support, kept = query.repeat(1, 16, 1, 1), support[1:2].repeat(1, 16, 1, 1), [k[1:2] for k in kept]
    whole = 4 * query.shape[1] * POSITIONS * support.shape[2]  # bytes
    with torch.set_grad_enabled(training), Largest() as largest:
        answers = [t for t in net(query, support, kept) if t is not None]
        if training:
            outcome(net, answers)
    with torch.no_grad(), Largest() as plain:
        whole_answers(net, query, support, kept)
    assert largest.size < whole <= plain.size
