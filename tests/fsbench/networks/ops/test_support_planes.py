"""Windows of planes: 4-D convolution, GroupNorm and ReLU on them, against the definitions on all activations."""

import pytest
import torch

from fsbench.networks.ops import center_pivot_conv, support_planes
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.plane_norm import GroupNormReLU
from fsbench.networks.ops.support_planes import PlaneWindows, from_planes, to_planes


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CASES = {  # rows and columns of the window, its corner, the support's plane
    "middle": ((3, 4), (2, 1), (7, 8)),
    "one position": ((1, 1), (3, 5), (6, 9)),
    "last corner": ((2, 3), (5, 6), (7, 9)),
    "all": ((5, 6), (0, 0), (5, 6)),
}


def windows(names, channels):
    """Windows of planes whose tensors ask for gradients."""
    size, corner, plane = zip(*(CASES[name] for name in names), strict=True)
    found = PlaneWindows(
        [draw(*s, channels, 4, 3, seed=i).requires_grad_() for i, s in enumerate(size)],
        corner,
        [draw(channels, seed=50 + i).requires_grad_() for i in range(len(names))],
        plane[0],
    )
    return found, [*found.windows, *found.rest]


def assert_equal_with_gradients(found, expected, inputs):
    torch.testing.assert_close(found, expected)
    direction = draw(*expected.shape, seed=99)
    wanted = torch.autograd.grad((expected * direction).sum(), inputs, allow_unused=True)
    given = torch.autograd.grad((found * direction).sum(), inputs, allow_unused=True)
    for g, w in zip(given, wanted, strict=True):
        torch.testing.assert_close(torch.zeros(()) if g is None else g, torch.zeros_like(g) if w is None else w)


def at_once(y, x, weight, stride, shift, outputs):
    return y + support_planes._over_support_at_once(x.flatten(3), weight, stride, shift, outputs).view(y.shape)


@pytest.mark.parametrize("form", ["products", "at once"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 4), (3, 4)])
@pytest.mark.parametrize("case", CASES)
def test_convolving_a_window_equals_convolving_all(case, kernel, stride, form, monkeypatch):
    if form == "at once":
        monkeypatch.setattr(center_pivot_conv, "add_over_support", at_once)
    torch.manual_seed(0)
    module = CenterPivotConv4d(2, 3, kernel, stride).double()
    x, inputs = windows([case], 2)
    if case == "all":
        inputs = inputs[:1]
    assert_equal_with_gradients(module(x), module.reference(x.dense()), [*inputs, *module.parameters()])


@pytest.mark.parametrize("case", CASES)
def test_norm_of_a_window_equals_norm_of_all(case):
    module = GroupNormReLU(2, 4).double()
    torch.nn.init.normal_(module.weight, generator=torch.Generator().manual_seed(1))
    torch.nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(2))
    x, inputs = windows([case], 4)
    found = module(x)
    assert_equal_with_gradients(found.dense(), module.reference(x.dense()), [*inputs, *module.parameters()])


def test_norm_of_a_batch_is_that_of_each_sample():
    module = GroupNormReLU(2, 4).double()
    x = draw(3, 4, 3, 2, 5, 6).requires_grad_()
    assert_equal_with_gradients(module(x), module.reference(x.clone()), [x, *module.parameters()])
    assert torch.equal(module(x[1:2])[0], module(x)[1])


def test_norm_of_equal_numbers_is_its_bias():
    module = GroupNormReLU(1, 2)
    torch.nn.init.constant_(module.bias, 0.5)
    found = module(torch.full((1, 2, 3, 3, 2, 2), 7.0))
    torch.testing.assert_close(found, torch.full_like(found, 0.5), rtol=0, atol=1e-3)


@pytest.mark.parametrize("case", ["middle", "all"])
def test_norm_keeps_the_dtype_of_its_planes(case):
    """Windows and the value around them, as `nn.GroupNorm` does."""
    module = GroupNormReLU(2, 4).bfloat16()
    x, _ = windows([case], 4)
    x = PlaneWindows([w.bfloat16() for w in x.windows], x.corners, [r.bfloat16() for r in x.rest], x.support_plane)
    found = module(x)
    assert found.windows[0].dtype == found.rest[0].dtype == torch.bfloat16
    expected = GroupNormReLU(2, 4)(PlaneWindows([w.float() for w in x.windows], x.corners, x.rest, x.support_plane))
    torch.testing.assert_close(found.dense().float(), expected.dense().float(), rtol=0.01, atol=0.01)


def test_planes_are_a_view_both_ways():
    x = from_planes(draw(2, 5, 6, 2, 4, 3))
    assert x.shape == (2, 2, 4, 3, 5, 6) and to_planes(x).data_ptr() == x.data_ptr()
