"""The convolution of an enlarged map, computed on the small one."""

import pytest
import torch

from fsbench.ops.upsampled_conv import reference, upsampled_conv


@pytest.mark.parametrize(("small", "large"), [((4, 4), (8, 8)), ((3, 5), (6, 10)), ((5, 3), (7, 9)), ((1, 2), (3, 4))])
def test_values_and_gradients_equal_enlarging_first(small, large):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, *small, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 6, 3, 3, generator=generator, dtype=torch.float64)
    results = []
    for function in (reference, upsampled_conv):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        y = function(*leaves, large)
        y.square().sum().backward()
        results.append([y, *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(*results, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("small", [(1, 1), (3, 3)])
def test_what_evaluation_kept_serves_training(small):
    large = (small[0] + 4, small[1] + 5)  # of no other test
    x, weight = torch.randn(1, 2, *small), torch.randn(3, 2, 3, 3, requires_grad=True)
    with torch.inference_mode():
        upsampled_conv(x, weight, large)
    upsampled_conv(x.requires_grad_(), weight, large).sum().backward()
    assert weight.grad is not None and bool(weight.grad.isfinite().all())
