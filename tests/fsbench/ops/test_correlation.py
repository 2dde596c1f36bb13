"""HSNet's correlation and 4-D convolution, PFENet's prior, against loops."""

import pytest
import torch
import torch.nn.functional as F

from fsbench.ops.correlation import CenterPivotConv4d, hyper_correlation, prior_mask


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_correlation_equals_the_cosine_of_each_pair():
    q, s = draw(2, 3, 4, 2, 3), draw(2, 3, 4, 3, 2, seed=1)
    found = hyper_correlation(q, s)
    assert found.shape == (2, 3, 2, 3, 3, 2)
    a, b = q[1, 2, :, 1, 2], s[1, 2, :, 0, 1]
    expected = (a @ b / ((a.norm() + 1e-5) * (b.norm() + 1e-5))).clamp(min=0)
    torch.testing.assert_close(found[1, 2, 1, 2, 0, 1], expected)
    assert (found >= 0).all() and (found > 0).any() and (found == 0).any()


def test_masked_support_does_not_correlate():
    q, s = draw(1, 2, 4, 3, 3), draw(1, 2, 4, 3, 3, seed=1)
    mask = torch.zeros(1, 9, 9)
    mask[:, 6:] = 1
    found = hyper_correlation(q, s, mask)
    assert (found[..., 0, :] == 0).all() and (found[..., 2, :] > 0).any()


@pytest.mark.parametrize(("kernel", "stride", "support"), [(3, 1, 4), (3, 2, 5), (5, 4, 9), (5, 4, 1)])
def test_both_forms_of_the_4d_convolution_agree_with_its_definition(kernel, stride, support):
    torch.manual_seed(0)
    module = CenterPivotConv4d(2, 3, kernel, stride).double()
    x = draw(2, 2, 4, 3, support, support)
    y = module(x)
    torch.testing.assert_close(y, module.reference(x))
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


def test_the_prior_is_the_best_match_with_the_foreground_spread_over_0_to_1():
    q, s = draw(1, 5, 4, 4).float(), draw(1, 2, 5, 4, 4, seed=1).float()
    masks = torch.zeros(1, 2, 16, 16)
    masks[:, 0, :8], masks[:, 1] = 1, 1
    found = prior_mask(q, s, masks, (4, 4))
    best = F.normalize(q.flatten(2), dim=1)[0].T @ F.normalize(s[:, 1].flatten(2), dim=1)[0]
    best = best.max(1).values
    torch.testing.assert_close(
        found[0, 1].flatten(), (best - best.min()) / (best.max() - best.min()), atol=1e-5, rtol=1e-4
    )
    assert found.min() >= 0 and found.max() <= 1 and not torch.allclose(found[:, 0], found[:, 1])
