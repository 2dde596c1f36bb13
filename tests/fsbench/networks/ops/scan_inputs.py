"""Inputs of a selective scan, and all outputs and gradients that a back end gives for them."""

import pytest
import torch

from fsbench.networks.ops.selective_scan import selective_scan
from tests.conftest import needs_triton
from tests.fsbench.networks.ops.gaps import with_gaps

FAST = ["torch", pytest.param("triton", marks=needs_triton)]


def inputs(b=2, d=6, length=37, n=3, groups=2, dtype=torch.float32, scale=1.0, bc="4d"):
    generator = torch.Generator().manual_seed(0)

    def random(*shape, to=dtype):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(to)

    wide = torch.promote_types(dtype, torch.float32)
    shapes = {"4d": (b, groups, n, length), "3d": (b, n, length), "fixed": (d, n)}
    bc_dtype = wide if bc == "fixed" else dtype
    return {
        "u": random(b, d, length),
        "delta": random(b, d, length) * scale,
        "A": -torch.exp(0.5 * random(d, n, to=wide)),
        "B": random(*shapes[bc], to=bc_dtype),
        "C": random(*shapes[bc], to=bc_dtype),
        "D": random(d, to=wide),
        "z": random(b, d, length),
        "delta_bias": random(d, to=wide),
        "initial_state": random(b, d, n, to=wide),
    }


def run(x, backend, device="cpu", strided=False):
    """Outputs and all gradients of a loss that weighs every output and every entry of the last state differently.

    An absent initial state is left out, and then no gradient reaches the last state. With `strided` the back end gets
    views with gaps.
    """
    leaves = {k: v.detach().clone().to(device).requires_grad_() for k, v in x.items() if v is not None}
    given = {k: with_gaps(v) for k, v in leaves.items()} if strided else leaves
    y, last = selective_scan(**given, delta_softplus=True, return_last_state=True, backend=backend)
    loss = (y.float() * torch.linspace(-1, 1, y.numel(), device=device).view_as(y)).sum()
    if "initial_state" in leaves:
        loss = loss + (last * torch.linspace(1, 2, last.numel(), device=device).view_as(last)).sum()
    loss.backward()
    found = {"y": y.detach(), "last": last.detach(), **{k: v.grad for k, v in leaves.items()}}
    return {k: v.cpu() for k, v in found.items()}


def assert_near(found, expected, tol):
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        difference = (found[name].double() - value.double()).abs().max()
        assert difference <= tol * value.double().abs().max().clamp(min=1e-3), (name, difference)
