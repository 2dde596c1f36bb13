"""Back ends of HMNet's scan, which load and which do not, and the scan at HMNet's true shapes."""

from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError, describe
from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.networks.ops.selective_scan._backends import Backend, choose_backend
from fsbench.runner.doctor.finding import Finding
from fsbench.runner.doctor.ops import without_tf32

TRUE_SHAPE = {"channels": 2048, "tokens": 4096, "states": 16, "groups": 4}
"""The scan of HMNet's self block: width 256 and features of 64 x 64, in four directions."""
TOLERANCE = 1e-4
"""Largest difference from fp64, as a share of the largest number of the answer."""


def check_scans(device: torch.device) -> Iterator[Finding]:
    """Yield for each back end of the scan whether it loads on `device`, and whether HMNet's true shapes come out right.

    True shapes take a CPU minutes, so there they are not checked.
    """
    with without_tf32():
        for backend in get_args(Backend):
            yield _check_backend(backend, device)
        yield _check_true_shapes(device)


def _check_backend(backend: Backend, device: torch.device) -> Finding:
    """Find whether a back end loads and calculates a small scan right."""
    name = f"scan back end {backend} on {device}"
    try:
        small = _arguments(device, channels=8, tokens=5, states=2, groups=2)
        choose_backend(small[0], backend)
        return _judge(name, _difference(small, backend))
    except SettingsError as error:  # mamba-ssm that is not installed is found when it is imported
        return Finding("ops", name, "absent", str(error))
    except Exception as error:  # Triton's errors are of no common kind; the other back ends shall be tried, too
        return Finding("ops", name, "failed", describe(error), _ADVICE)


def _check_true_shapes(device: torch.device) -> Finding:
    """Find whether the back end that HMNet's evaluation would take is right at HMNet's shapes."""
    shape = ", ".join(f"{number} {what}" for what, number in TRUE_SHAPE.items())
    name = f"scan at HMNet's true shapes on {device}"
    if device.type == "cpu":
        return Finding("ops", name, "not checked", f"{shape}: takes a CPU too long; on a GPU it is checked")
    try:
        large = _arguments(device, **TRUE_SHAPE)
        chosen = choose_backend(large[0], stateless=True)
        return _judge(name, _difference(large, chosen), f" with {chosen}: {shape}")
    except torch.OutOfMemoryError as error:
        return Finding("ops", name, "not checked", f"{shape}, once in fp64: {describe(error)}")
    except Exception as error:  # as above
        return Finding("ops", name, "failed", describe(error), _ADVICE)


_ADVICE = "choose another one: FSBENCH_SCAN in the manual"


def _arguments(device: torch.device, channels: int, tokens: int, states: int, groups: int) -> list[Tensor]:
    """Draw u, delta, A, B, C, D of a scan in fp32."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, channels, tokens)] * 2 + [(channels, states)] + [(1, groups, states, tokens)] * 2 + [(channels,)]
    drawn = [torch.randn(shape, generator=generator) for shape in shapes]
    drawn[2] = -drawn[2].exp()
    return [tensor.to(device) for tensor in drawn]


def _difference(arguments: list[Tensor], backend: Backend) -> float:
    """Return the largest difference from fp64 of outputs and gradients, as a share of the largest number of each."""
    exact = _answers([argument.double() for argument in arguments], "torch")
    found = _answers([argument.float() for argument in arguments], backend)
    shares = [float((f - e).abs().max() / e.abs().max().clamp(min=1e-30)) for f, e in zip(found, exact, strict=True)]
    return max(share if share == share else float("inf") for share in shares)


def _answers(arguments: list[Tensor], backend: Backend) -> list[Tensor]:
    leaves = [argument.detach().requires_grad_() for argument in arguments]
    u, delta, A, B, C, D = leaves
    y = selective_scan(u, delta, A, B, C, D, delta_softplus=True, backend=backend)
    assert isinstance(y, Tensor)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64, device=y.device).view(y.shape).to(y)
    return [each.detach().double() for each in (y, *torch.autograd.grad((y * weights).sum(), leaves))]


def _judge(name: str, difference: float, words: str = "") -> Finding:
    if difference <= TOLERANCE:
        return Finding("ops", name, "ok", f"loads{words}; differs by {difference:.0e} in fp32")
    return Finding(
        "ops", name, "failed", f"off by {difference:.1e} of the largest number, at most {TOLERANCE:.0e} is expected",
        "figures made with it would be wrong; choose another one: FSBENCH_SCAN in the manual",
    )  # fmt: skip
