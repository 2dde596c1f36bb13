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
    # torch enlarges in double precision with weights of its own rounding, ours are single
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-5)
