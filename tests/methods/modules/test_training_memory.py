"""Training steps of EMAT and CST keep no correlation on a CPU, and their gradients are those of the plain path."""

import pytest
import torch
import torch.nn.functional as F

from fsbench.methods.emat import emat_learner
from fsbench.methods.modules import halved_correlation
from fsbench.networks.ops import masked_attention
from tests.methods.modules.learners import LEARNERS

SIDES = {"emat": 8, "emat_seg": 8, "cst": 6}


def arguments(side, class_token, queries, samples=2, frozen=True):
    generator = torch.Generator().manual_seed(0)

    def features(count, tokens):
        drawn = torch.randn(count, 12, tokens, 5, generator=generator, dtype=torch.float64)
        return F.normalize(drawn, dim=-1).requires_grad_(not frozen)

    masks = torch.zeros(samples, 40, 40)
    masks[:, :25, 10:] = 1
    masks[0] = 1  # all kept
    return features(queries, 36), features(samples, side**2 + class_token), masks


@pytest.mark.parametrize("chunk", [1, 4000], ids=["single tokens", "some"])
@pytest.mark.parametrize(("queries", "frozen"), [(1, True), (2, False)])
@pytest.mark.parametrize("name", SIDES)
def test_gradients_are_those_of_the_whole_correlation(name, queries, frozen, chunk, monkeypatch):
    monkeypatch.setattr(masked_attention, "PACKED_CHUNK", chunk)
    monkeypatch.setattr(halved_correlation, "CHUNK", chunk)
    build, side = LEARNERS[name], SIDES[name]
    torch.manual_seed(0)
    net = build(12, side).double()
    query, support, masks = arguments(side, net.class_token, queries, frozen=frozen)
    leaves = [*net.parameters(), *([] if frozen else [query, support])]

    def outcome(answer):
        labels, maps = answer
        loss = (maps * torch.linspace(-1, 1, maps.numel()).view_as(maps)).sum() + (
            0 if labels is None else labels[0, 1]
        )
        return [maps.detach(), *torch.autograd.grad(loss, leaves, allow_unused=True)]

    expected = outcome(net.decode(net.transform(query @ support.mT, net.kept_by_block(masks))))
    for value, plain in zip(outcome(net(query, support, net.kept_by_block(masks))), expected, strict=True):
        assert (value is None) == (plain is None)
        if plain is not None:
            torch.testing.assert_close(value, plain, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_halving_convolution_under_autocast(dtype):
    """Against torch's convolution, whose autocast it repeats."""
    torch.manual_seed(0)
    x = torch.randn(2, 12, 5, 65)
    net = emat_learner(12, 8).corrtransformer[0].attn
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = net.q(x)
        image = x[..., 1:].unflatten(3, (8, 8)).flatten(2, 3)
        expected = F.conv2d(image, net.q.q_seg.weight[:, :, 0], net.q.q_seg.bias, stride=2)
    assert found.dtype == expected.dtype == dtype
    weights = net.q.q_seg.weight, net.q.q_seg.bias
    gradients = [torch.autograd.grad(y.float().square().sum(), weights) for y in (found[..., 1:], expected)]
    for value, plain in zip(*gradients, strict=True):
        assert (value - plain).abs().max() <= (0.02 if dtype == torch.bfloat16 else 1e-5) * plain.abs().max()


@pytest.mark.parametrize("name", SIDES)
def test_nothing_as_large_as_the_correlation_is_kept_for_the_gradients(name):
    build, side = LEARNERS[name], SIDES[name]
    net = build(12, side).double()
    query, support, _ = arguments(side, net.class_token, 2)
    size = query.shape[:3].numel() * support.shape[2]

    def largest(answer):
        sizes = []

        def keep_size(tensor):
            sizes.append(tensor.untyped_storage().nbytes() // query.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep_size, lambda tensor: tensor):
            answer()
        return max(sizes)

    first = net.corrtransformer[0].attn
    keep = torch.ones(2, support.shape[2], dtype=torch.bool)
    assert largest(lambda: first.reduce(query @ support.mT, keep)) >= size
    assert largest(lambda: first.reduce_correlation(query, support, keep)) < size
