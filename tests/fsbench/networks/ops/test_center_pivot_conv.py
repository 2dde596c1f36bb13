"""HSNet's correlation of kept support pixels, and its 4-D convolution, against their definitions."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F

from fsbench.methods.hsnet.hsnet import HyperpixelLearner
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.correlation import hyper_correlation
from fsbench.networks.ops.kept_correlation import keep_correlation, unit
from fsbench.networks.ops.plane_norm import GroupNormReLU
from fsbench.networks.ops.support_planes import PlaneWindows


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masks_of(*names):
    """Masks (B, 33, 33): all, nothing, one pixel in a corner, a box, scattered blocks, a soft edge."""
    masks = torch.zeros(len(names), 33, 33)
    for mask, name in zip(masks, names, strict=True):
        if name == "full":
            mask[:] = 1
        elif name == "corner":
            mask[-1, -1] = 1
        elif name == "box":
            mask[9:20, 3:14] = 1
        elif name == "scattered":
            mask[:] = (torch.rand(33, 33, generator=torch.Generator().manual_seed(3)) < 0.05).float()
            mask[:, 20:] = 0
        elif name == "soft":
            mask[:, 10:] = torch.linspace(0, 1, 23)
    return masks


KINDS = ("full", "empty", "corner", "box", "scattered", "soft")


@pytest.mark.parametrize("side", [5, 9, 13])
def test_kept_correlations_are_all_that_is_not_zero(side):
    query, support, masks = draw(6, 2, 4, 3, 5), draw(6, 2, 4, side, side, seed=1), masks_of(*KINDS)
    kept, dense = keep_correlation(unit(query), support, masks), hyper_correlation(query, support, masks)
    torch.testing.assert_close(kept.dense(), dense, rtol=0, atol=1e-15)
    for sample, pixels in enumerate(kept.pixels):
        dropped = torch.ones(side * side, dtype=torch.bool).index_fill_(0, pixels, False)
        assert (dense[sample].flatten(3)[..., dropped] == 0).all()
    counts = [len(pixels) for pixels in kept.pixels]
    assert counts[0] == side * side and counts[1] == 0 and counts[2] == 1 and 0 < counts[3] < counts[0]


@pytest.mark.parametrize(
    ("kernel", "stride", "side"), [(3, 1, 4), (3, 2, 5), (5, 4, 9), (5, 4, 12), (5, 4, 13), (3, 4, 9)]
)
def test_convolving_kept_correlations_equals_convolving_all(kernel, stride, side):
    """Outputs and gradients, each sample with its own mask; of 12 pixels by 4 the last is seen by no output."""
    torch.manual_seed(0)
    module = CenterPivotConv4d(2, 3, kernel, stride).double()
    query, support, masks = draw(6, 2, 4, 4, 3), draw(6, 2, 4, side, side, seed=1), masks_of(*KINDS)
    plain = module.reference(hyper_correlation(query, support, masks))
    direction = draw(*plain.shape, seed=2)
    expected = torch.autograd.grad((plain * direction).sum(), list(module.parameters()))
    found = module(keep_correlation(unit(query), support, masks)).dense()
    torch.testing.assert_close(found, plain)
    gradients = torch.autograd.grad((found * direction).sum(), list(module.parameters()))
    torch.testing.assert_close(gradients, expected)


def test_a_batch_of_empty_supports_has_gradients_of_zero():
    """Not none at all, with which an optimiser would skip its step."""
    module = CenterPivotConv4d(2, 3, 3, 2).double()
    query, support = draw(1, 2, 4, 3, 3), draw(1, 2, 4, 5, 5, seed=1)
    y = module(keep_correlation(unit(query), support, torch.zeros(1, 9, 9))).dense()
    y.sum().backward()
    bias = (module.conv1.bias + module.conv2.bias)[:, None, None, None, None].expand_as(y[0])
    assert torch.equal(y[0], bias)
    assert (module.conv1.weight.grad == 0).all() and (module.conv2.weight.grad == 0).all()
    assert (module.conv1.bias.grad == y[0, 0].numel()).all()


def pyramids(batch, seed, sides=(13, 7, 4)):
    """Features in float64."""
    return [draw(batch, 2, 4, side, side, seed=seed + side) for side in sides]


def test_the_learner_reads_kept_correlations_as_all_of_them(monkeypatch):
    """Logits and gradients, against plain correlations and convolutions by their definition."""
    torch.manual_seed(0)
    net = HyperpixelLearner([2, 2, 2], 32).double()
    query, support, masks = pyramids(3, 0), pyramids(3, 50), masks_of("box", "empty", "full")

    def step(correlations):
        net.zero_grad()
        logits = net(correlations[::-1])
        logits.square().mean().backward()
        return logits.detach(), torch.cat([p.grad.flatten() for p in net.parameters()])

    found = step([keep_correlation(unit(q), s, masks) for q, s in zip(query, support, strict=True)])
    monkeypatch.setattr(CenterPivotConv4d, "forward", CenterPivotConv4d.reference)
    monkeypatch.setattr(GroupNormReLU, "forward", GroupNormReLU.reference)
    plain = step([hyper_correlation(q, s, masks) for q, s in zip(query, support, strict=True)])
    torch.testing.assert_close(found, plain, rtol=1e-9, atol=1e-12)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_learner_answers_in_half_precision(dtype):
    """Backbones answer in fp32, or in half precision under autocast: the logits are those of fp32 to its digits."""
    torch.manual_seed(0)
    net = HyperpixelLearner([2, 2, 2], 32)
    query, support = ([scale.to(dtype) for scale in pyramids(2, seed)] for seed in (0, 50))
    masks = masks_of("box", "full")

    def logits():
        return net([keep_correlation(unit(q), s, masks) for q, s in zip(query, support, strict=True)][::-1])

    with torch.autocast("cpu", torch.bfloat16):
        half = logits()
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), logits(), rtol=0.05, atol=0.05)


@cache
def sums_keep_their_digits() -> bool:
    """Tell whether the gradient of a convolution of ones over many positions is their number, in half precision."""
    weight = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16, requires_grad=True)
    F.conv2d(torch.ones(1024, 1, 9, 9, dtype=torch.bfloat16), weight).sum().backward()
    assert weight.grad is not None
    return abs(weight.grad.item() / (1024 * 81) - 1) < 0.005


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 2, 13), (5, 2, 25), (5, 1, 25)])
@pytest.mark.parametrize("form", ["kept", "all"])
def test_gradients_keep_their_digits_in_half_precision(form, kernel, stride, side):
    """Sums over many support positions are not made in half precision; each product is rounded once."""
    if not sums_keep_their_digits():
        pytest.skip("torch's convolutions sum gradients in half precision on this processor, which has no bf16")
    torch.manual_seed(0)
    module = CenterPivotConv4d(2, 16, kernel, stride)
    query, support = (draw(1, 2, 8, s, s, seed=s).bfloat16() for s in (9, side))
    query.requires_grad_()
    masks, inputs = masks_of("full"), [query, *module.parameters()]
    plain = module.reference(hyper_correlation(query, support, masks))
    direction = 1 + draw(*plain.shape, seed=2).float()
    expected = torch.autograd.grad((plain * direction).sum(), inputs)
    with torch.autocast("cpu", torch.bfloat16):
        if form == "kept":
            found = module(keep_correlation(unit(query), support, masks)).dense()
        else:
            found = module(hyper_correlation(query, support, masks))
    gradients = torch.autograd.grad((found * direction).sum(), inputs)
    assert gradients[0].dtype == torch.bfloat16
    for i, (g, e) in enumerate(zip(gradients, expected, strict=True)):  # that of the query is a difference
        assert (g.float() - e.float()).norm() <= (0.005 if i else 0.1) * e.float().norm()


@pytest.fixture
def unset_memory_is_nan():
    """Torch's deterministic mode, which fills memory that nobody has written with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("kernel", "stride", "side"), [(5, 4, 2), (5, 4, 3), (3, 4, 2)])
def test_planes_smaller_than_the_kernel_train_in_half_precision(kernel, stride, side, unset_memory_is_nan):
    """Taps that meet nothing but padding have a gradient of 0, whatever lay in memory before."""
    if not sums_keep_their_digits():
        pytest.skip("torch's convolutions sum gradients in half precision on this processor, which has no bf16")
    torch.manual_seed(0)
    module = CenterPivotConv4d(4, 16, kernel, stride)
    window, rest = draw(1, 1, 4, 6, 6).float(), draw(4, seed=1).float().requires_grad_()
    x, inputs = PlaneWindows([window], [(0, 0)], [rest], (side, side)), [rest, *module.parameters()]
    plain = module.reference(x.dense())
    direction = 1 + draw(*plain.shape, seed=2).float()
    expected = torch.autograd.grad((plain * direction).sum(), inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(x)
    gradients = torch.autograd.grad((found * direction).sum(), inputs)
    for g, e in zip([found, *gradients], [plain, *expected], strict=True):
        assert (g - e).norm() <= 0.01 * e.norm()
        assert (g[e == 0] == 0).all()
    assert (expected[3] == 0).any()  # of the kernel over the support


def test_features_of_half_precision_have_a_finite_norm():
    """Squares of numbers above 256 are no numbers of float16."""
    x = 200 * draw(2, 3, 64, 5).half()
    torch.testing.assert_close(unit(x).double(), unit(x.double()), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(unit(x.requires_grad_()).double(), unit(x.double()), rtol=1e-5, atol=1e-7)


@torch.inference_mode()
def test_an_episode_has_the_same_bits_in_any_batch():
    """In the first convolution, the only one that treats the episodes of a batch differently."""
    query, support, masks = draw(4, 2, 8, 5, 5).float(), draw(4, 2, 8, 9, 9, seed=1).float(), masks_of(*KINDS[:4])
    module = CenterPivotConv4d(2, 16, 5, 4)
    together = module(keep_correlation(unit(query), support, masks)).dense()
    for i in (3, 1, 0, 2):
        alone = module(keep_correlation(unit(query[i : i + 1]), support[i : i + 1], masks[i : i + 1]))
        assert torch.equal(alone.dense()[0], together[i])


@pytest.mark.parametrize(
    ("kernel", "stride", "support"), [(3, 1, 4), (3, 1, 2), (3, 1, 1), (5, 1, 3), (3, 2, 5), (5, 4, 9), (5, 4, 1)]
)
def test_all_forms_of_the_4d_convolution_agree_with_its_definition(kernel, stride, support):
    torch.manual_seed(0)
    module = CenterPivotConv4d(2, 3, kernel, stride).double()
    x = draw(2, 2, 4, 3, support, support)
    y = module(x)
    torch.testing.assert_close(y, module.reference(x))
    torch.testing.assert_close(module(x[:1]), y[:1])
    kept = -(-support // stride)
    assert y.shape == (2, 3, 4, 3, kept, kept)
    over_query = F.conv2d(x[..., stride * (kept - 1), 0], module.conv1.weight, module.conv1.bias, padding=kernel // 2)
    plane = F.conv2d(x[:, :, 2, 1], module.conv2.weight, module.conv2.bias, stride=stride, padding=kernel // 2)
    torch.testing.assert_close(y[:, :, 2, 1, kept - 1, 0], over_query[:, :, 2, 1] + plane[:, :, kept - 1, 0])


def test_the_4d_convolution_takes_several_sizes():
    """The original remembers the positions of its first input."""
    module = CenterPivotConv4d(1, 1, 3, 2).double()
    for side in (5, 4, 6):
        x = draw(1, 1, 3, 3, side, side)
        torch.testing.assert_close(module(x), module.reference(x))
