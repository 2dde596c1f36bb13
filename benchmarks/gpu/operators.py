"""Operators on a GPU beside their plain references in float64: values, gradients, time.

Every operator is a function of a list of tensors. Its reference computes them in float64; numbers are drawn so that
bfloat16 holds them, and one reference serves every dtype.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.figures import Figures, Rows, cost
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.correlation import hyper_correlation
from fsbench.networks.ops.kept_correlation import keep_correlation, unit
from fsbench.networks.ops.mask_value_attention import mask_value_attention
from fsbench.networks.ops.masked_attention import masked_attention
from fsbench.networks.ops.selective_scan import _mamba_ssm, selective_scan
from fsbench.networks.ops.selective_scan.interception import intercept
from fsbench.networks.ops.selective_scan.recapped_scan import long_scan, recapped_scan

Operator = Callable[..., Tensor | tuple[Tensor, ...]]
BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""Largest difference from the reference, relative to the reference's largest number, as in the tests of the operators
(5e-5 and 0.05), with room for longer sums."""


@dataclass
class Comparison:
    """One operator in several ways.

    Attributes:
        what: the operator with its shapes.
        plain: its reference.
        shapes: of the arguments.
        paths: the ways by name; the first is the one whose time the others are compared with.
        device: where they compute.
        adapt: changes the drawn arguments.
        dtypes: in which they compute.
    """

    what: str
    plain: Operator
    shapes: list[tuple[int, ...]]
    paths: Mapping[str, Operator]
    device: torch.device
    adapt: Callable[[list[Tensor]], object] = lambda drawn: None
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)

    @cached_property
    def arguments(self) -> list[Tensor]:
        """Numbers that bfloat16 holds, in float64 on the device."""
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(shape, generator=generator) for shape in self.shapes]
        self.adapt(drawn)
        return [t.bfloat16().to(self.device, torch.float64) for t in drawn]

    @cached_property
    def expected(self) -> tuple[list[Tensor], list[Tensor]]:
        """Values and gradients of the reference."""
        return self.both(self.plain, torch.float64)

    def both(self, operator: Operator, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        """Return the values, and the gradients of a fixed weighted sum of them."""
        leaves = [t.to(dtype, copy=True).requires_grad_() for t in self.arguments]
        with torch.enable_grad():
            outputs = _listed(operator(*leaves))
        weights = [torch.linspace(-1, 1, t.numel(), device=t.device, dtype=t.dtype).view_as(t) for t in outputs]
        return [t.detach() for t in outputs], list(torch.autograd.grad(outputs, leaves, weights))

    def forward(self, operator: Operator, dtype: torch.dtype) -> Figures:
        """Compare and time the values."""
        leaves = [t.to(dtype) for t in self.arguments]
        with torch.no_grad():
            error = _distance(_listed(operator(*leaves)), self.expected[0])
            return Figures(error, BOUNDS[dtype], *cost(lambda: operator(*leaves), self.device))

    def step(self, operator: Operator, dtype: torch.dtype) -> Figures:
        """Compare the gradients; time values and gradients."""
        error = _distance(self.both(operator, dtype)[1], self.expected[1])
        return Figures(error, BOUNDS[dtype], *cost(lambda: self.both(operator, dtype), self.device))

    def rows(self) -> Rows:
        """Yield every row."""
        for dtype in self.dtypes:
            for kind, find in (("forward", self.forward), ("forward and backward", self.step)):
                for path, operator in self.paths.items():
                    what = f"{self.what}, {str(dtype).removeprefix('torch.')}, {kind}"
                    yield what, path, partial(find, operator, dtype)


def _listed(outputs: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference, of each tensor relative to its largest expected number; NaN passes through."""
    pairs = zip(found, expected, strict=True)
    return max((float((a.double() - b).abs().max() / b.abs().max()) for a, b in pairs), key=lambda e: (e != e, e))


def scans(device: torch.device, small: bool, deadline: float) -> Rows:
    """Yield the selective scan, the recapped scan and the interception at the shapes of HMNet's episode, by back end.

    Step sizes and decays are those of its first weights.
    """
    inner, side, windows, states = (8, 24, 3, 3) if small else (2048, 256, 16, 16)
    on_gpu = device.type == "cuda"
    backends = ["torch", "triton"] if on_gpu or os.environ.get("TRITON_INTERPRET") == "1" else ["torch"]
    calls: list[Callable[..., Any]] = [selective_scan, recapped_scan, long_scan, intercept]
    selective, recap, whole, read = calls

    def decays(drawn: list[Tensor], place: int) -> None:
        drawn[place] = -torch.arange(1.0, states + 1).expand_as(drawn[place])
        drawn[-1] = drawn[-1] * 0.5 - 4

    def scan(*x: Tensor, backend: str) -> Any:
        A, D, bias = map(_wide, x[4:])
        return selective(*x[:2], A, *x[2:4], D, None, bias, True, backend=backend)

    def recapped(*x: Tensor, backend: str) -> Any:
        return recap(*x[:8], *map(_wide, x[8:]), True, backend=backend)[:2]

    def plain_recapped(*x: Tensor, backend: str) -> Any:
        return whole(*x, True, backend="torch")[:2]

    def intercepted(*x: Tensor, backend: str) -> Any:
        return read(*x[:2], _wide(x[2]), *x[3:5], *map(_wide, x[5:]), True, backend=backend)

    def rows(what: str, plain: Operator, ours: Operator, shapes: list[tuple[int, ...]], decay: int, more: Any) -> Rows:
        paths = {backend: partial(ours, backend=backend) for backend in (*backends, *more)}
        adapt = partial(decays, place=decay)
        return Comparison(what, partial(plain, backend="reference"), shapes, paths, device, adapt).rows()

    tokens: list[tuple[int, ...]] = [(1, inner), (1, inner), (1, 4, states), (1, 4, states)]
    weights: list[tuple[int, ...]] = [(inner, states), (inner,), (inner,)]
    length, few = side * windows, inner // 4
    what = f"selective scan, {inner} channels, {length} tokens, {states} states"
    mamba = ["mamba_ssm"] if on_gpu and _mamba_ssm.is_usable() else []
    yield from rows(what, scan, scan, [*((*shape, length) for shape in tokens), *weights], 4, mamba)
    what = f"recapped scan, {inner} channels, {side} tokens before each of {windows} windows of {side}"
    both = [*((*shape, side) for shape in tokens), *((*shape, windows, side) for shape in tokens)]
    yield from rows(what, plain_recapped, recapped, [*both, *weights], 8, [])
    what = f"interception, {few} channels, {side} tokens, {states} states"
    own = [(1, few, side)] * 2 + [(few, states)] + [(1, states, side)] * 2 + [(few,), (1, few, states), (few,)]
    yield from rows(what, intercepted, intercepted, own, 2, [])


def _wide(t: Tensor) -> Tensor:
    """Return weights as a method has them beside tokens in half precision."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


class _Form(nn.Module):
    """One form of a layer, so that its weights can be arguments."""

    def __init__(self, layer: CenterPivotConv4d, name: str):
        super().__init__()
        self.layer, self.name = layer, name

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = getattr(self.layer, self.name)(x)
        return y


def operators(device: torch.device, small: bool, deadline: float) -> Rows:
    """Yield HSNet's convolution and correlation, EMAT's and DCAMA's attention, a fifth of the support kept."""
    inner, outer, side = (2, 3, 5) if small else (16, 64, 25)
    layer = CenterPivotConv4d(inner, outer, 3, 2)
    names = ["layer." + name for name, _ in layer.named_parameters()]
    shapes = [tuple(p.shape) for p in layer.parameters()]

    def convolve(x: Tensor, *weights: Tensor, form: str) -> Tensor:
        given = dict(zip(names, weights, strict=True))
        y: Tensor = torch.func.functional_call(_Form(layer, form), given, (x,))
        return y

    yield from Comparison(
        f"center-pivot convolution, {inner} -> {outer} channels, {side}x{side} by {side}x{side}",
        partial(convolve, form="reference"), [(1, inner, side, side, side, side), *shapes],
        {"plain": partial(convolve, form="reference"), "ours": partial(convolve, form="forward")}, device,
        lambda drawn: [t.mul_(0.1) for t in drawn[1:]],
    ).rows()  # fmt: skip

    blocks, channels, side = (2, 8, 5) if small else (4, 512, 50)
    mask = torch.zeros(1, 8 * side, 8 * side, device=device)
    mask[:, 2 * side : 6 * side, 3 * side : 6 * side] = 1

    def kept(query: Tensor, support: Tensor) -> Tensor:
        return keep_correlation(unit(query), support, mask.to(query)).dense()

    def plain(query: Tensor, support: Tensor) -> Tensor:
        return hyper_correlation(query, support, mask.to(query))

    shape = (1, blocks, channels, side, side)
    yield from Comparison(
        f"kept correlation, {blocks} blocks of {channels} channels, {side}x{side}, a fifth kept", plain, [shape, shape],
        {"plain": plain, "ours": kept}, device, lambda drawn: [t.clamp_(min=0) for t in drawn],
        (torch.float32,),
    ).rows()  # fmt: skip

    side, queries = (4, 6) if small else (20, 625)
    tokens = side**2 + 1
    keep = (torch.arange(tokens, device=device) % 5 == 0).expand(2, -1)

    def attend(q: Tensor, x: Tensor, weight: Tensor, bias: Tensor, *, backend: str) -> Tensor:
        return masked_attention(q, x, weight / 8, bias, keep, 8, backend)  # type: ignore[arg-type]

    yield from Comparison(
        f"masked attention, {queries} queries, {tokens} support tokens, a fifth kept, 2 samples",
        partial(attend, backend="reference"),
        [(2, 32, queries, (side // 2) ** 2 + 1), (2, 72, queries, tokens), (64, 72), (64,)],
        {backend: partial(attend, backend=backend) for backend in ("reference", "packed")}, device,
    ).rows()  # fmt: skip

    positions, width = (9, 16) if small else (48**2, 256)

    def average(q: Tensor, k: Tensor, value: Tensor, *, backend: str) -> Tensor:
        return mask_value_attention(q, k, value, 8, backend=backend)  # type: ignore[arg-type]

    yield from Comparison(
        f"mask-value attention, {positions} queries and keys, 2 layers", partial(average, backend="reference"),
        [(2, width, positions), (2, width, positions), (2, positions)],
        {backend: partial(average, backend=backend) for backend in ("reference", "chunked", "fused")}, device,
    ).rows()  # fmt: skip
