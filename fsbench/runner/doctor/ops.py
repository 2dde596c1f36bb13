"""Every op with a fast path, calculated on a device and held against its plain definition in fp64 on the CPU.

Inputs are drawn from a seed, once contiguous and once as views with other strides; some have a width of one, which
kernels with vectors like to get wrong.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from fsbench.base.errors import describe
from fsbench.networks.ops import correlation
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.kept_correlation import keep_correlation, resize_mask, unit
from fsbench.networks.ops.mask_value_attention import mask_value_attention
from fsbench.networks.ops.masked_attention import Backend as AttentionBackend
from fsbench.networks.ops.masked_attention import masked_attention
from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.networks.ops.selective_scan._backends import Backend as ScanBackend
from fsbench.networks.ops.selective_scan.interception import intercept
from fsbench.runner.doctor.finding import Finding

TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest difference by dtype, as a share of the largest number of the answer."""


@dataclass(frozen=True)
class OpCase:
    """An op and arguments for it.

    Attributes:
        name: of the op, with what is special about the arguments.
        fast: the path that methods take.
        plain: the definition.
        arguments: floating-point arguments of both; a share of the largest number is judged.
        dtypes: that methods use the op with.
    """

    name: str
    fast: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    arguments: tuple[Tensor, ...]
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float16, torch.bfloat16)


def op_cases() -> Iterator[OpCase]:
    """Yield the ops, each with common shapes and with a width of one."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    for special, width in (("", 6), (", width 1", 1)):
        keep = torch.rand(2, 9, generator=generator) > 0.4
        tokens = draw(2, 8, 33), draw(2, 8, 33)
        scanned = (*tokens, -draw(8, width).exp(), draw(2, width, 33), draw(2, width, 33), draw(8))
        yield OpCase(f"selective scan{special}", _scan(None), _scan("reference"), scanned)
        yield OpCase(
            f"intercepted scan{special}", _intercept(None), _intercept("reference"), (*scanned, draw(2, 8, width))
        )
        yield OpCase(
            f"masked attention{special}",
            _attend(keep, None),
            _attend(keep, "reference"),
            (draw(2, 2 * width, 5, 3), draw(2, 7, 5, 9), draw(4 * width, 7) / 3, draw(4 * width)),
        )
        yield OpCase(
            f"mask-value attention{special}",
            lambda q, k, value: mask_value_attention(q, k, value, 2),
            lambda q, k, value: mask_value_attention(q, k, value, 2, backend="reference"),
            (draw(2, 2 * width, 11), draw(2, 2 * width, 13), draw(2, 13)),
        )
        yield OpCase(
            f"hyper-correlation{special}",
            correlation.hyper_correlation,
            correlation.reference,
            (draw(2, 3, 5, width, 4), draw(2, 3, 5, width, 4)),
            (torch.float32,),
        )
        mask = torch.zeros(2, 8, 8)
        mask[0, 2:5, 1:4], mask[1, 6:, 7:] = 1, 1
        yield OpCase(
            f"centre-pivot convolution of kept pixels{special}",
            _convolve_kept(mask),
            _convolve_plain(mask),
            (draw(2, 3, 5, width, 4), draw(2, 3, 5, 4, 6), *(draw(*s) for s in [(4, 3, 3, 3), (4,)] * 2)),
            (torch.float32,),
        )


def _scan(backend: ScanBackend | None) -> Callable[..., Tensor]:
    def run(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
        wide = torch.promote_types(u.dtype, torch.float32)
        A, D = A.to(wide), D.to(wide)
        y = selective_scan(u, delta, A, B, C, D, delta_softplus=True, backend=backend)
        assert isinstance(y, Tensor)
        return y

    return run


def _intercept(backend: ScanBackend | None) -> Callable[..., Tensor]:
    def run(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor) -> Tensor:
        wide = torch.promote_types(u.dtype, torch.float32)
        A, D, state = A.to(wide), D.to(wide), state.to(wide)
        return intercept(u, delta, A, B, C, D, state, delta_softplus=True, backend=backend)

    return run


def _attend(keep: Tensor, backend: AttentionBackend | None) -> Callable[..., Tensor]:
    def run(q: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return masked_attention(q, x, weight, bias, keep.to(q.device), 2, backend)

    return run


def _convolve_kept(mask: Tensor) -> Callable[..., Tensor]:
    def run(query: Tensor, support: Tensor, *weights: Tensor) -> Tensor:
        kept = keep_correlation(unit(query), support, mask.to(query))
        found: Tensor = torch.func.functional_call(_PIVOT, dict(zip(_WEIGHTS, weights, strict=True)), (kept,)).dense()
        return found

    return run


def _convolve_plain(mask: Tensor) -> Callable[..., Tensor]:
    """Return HSNet's convolution of all correlations, zeros included, by planes."""

    def run(query: Tensor, support: Tensor, *weights: Tensor) -> Tensor:
        masked = support * resize_mask(mask, (support.shape[-2], support.shape[-1])).to(support)[:, None, None]
        x = correlation.reference(query, masked)
        found: Tensor = torch.func.functional_call(_PLAIN_PIVOT, dict(zip(_WEIGHTS, weights, strict=True)), (x,))
        return found

    return run


class _PlainPivot(CenterPivotConv4d):
    forward = CenterPivotConv4d.reference  # type: ignore[assignment]


with torch.device("meta"):  # the weights are arguments
    _PIVOT, _PLAIN_PIVOT = (kind(3, 4, kernel=3, stride=2) for kind in (CenterPivotConv4d, _PlainPivot))
_WEIGHTS = ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")


@contextmanager
def without_tf32() -> Iterator[None]:
    """Let GPUs multiply in full fp32 within the block, as runs do; torch's own choice is TF32 for convolutions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def check_ops(device: torch.device) -> list[Finding]:
    """Calculate every op on `device` in each of its dtypes, with its gradients in fp32; a finding for each op."""
    with without_tf32():
        return [_check(case, device) for case in op_cases()]


def _check(case: OpCase, device: torch.device) -> Finding:
    name, repeats = f"{case.name} on {device}", True
    worst: dict[str, float] = {}
    for dtype in case.dtypes:
        if dtype == torch.float16 and device.type == "cpu":  # no method runs in fp16 there
            continue
        rounded = [argument.to(dtype) for argument in case.arguments]
        trains = dtype == torch.float32  # gradients of narrow types are autocast's, which sums in fp32
        expected = _answers(case.plain, [argument.double() for argument in rounded], trains)
        for strided in (False, True):
            try:
                given = [with_gaps(x.to(device)) if strided else x.to(device) for x in rounded]
                found = _answers(case.fast, given, trains)
                repeats &= all(map(torch.equal, found, _answers(case.fast, given, trains)))
            except Exception as error:  # Triton's errors are of no common kind; the other ops shall be tried, too
                return Finding("ops", name, "failed", describe(error), _ADVICE)
            kind = str(dtype).removeprefix("torch.")
            share = max(map(_difference, found, expected))
            worst[kind] = max(worst.get(kind, 0.0), share)
            if not share <= TOLERANCE[dtype]:
                words = f"{kind}: off by {share:.1e} of the largest number, at most {TOLERANCE[dtype]:.0e} is expected"
                return Finding("ops", name, "failed", words, _ADVICE)
    words = "differs by " + ", ".join(f"{kind} {share:.0e}" for kind, share in worst.items())
    return Finding("ops", name, "ok", words + "; not the same bits each time" * (not repeats))


def _answers(op: Callable[..., Tensor], given: list[Tensor], trains: bool) -> list[Tensor]:
    """Return the op's answer and, with `trains`, the gradients of a weighted sum of it; fp64 on the CPU."""
    given = [argument.detach().requires_grad_(trains) for argument in given]
    answer = op(*given)
    found = [answer]
    if trains:
        weights = torch.linspace(-1, 1, answer.numel(), dtype=torch.float64).view(answer.shape)
        found += torch.autograd.grad((answer * weights.to(answer)).sum(), given)
    return [each.detach().cpu().double() for each in found]


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a share of the largest number, infinite for what is no number."""
    share = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
    return share if share == share else float("inf")


_ADVICE = (
    "figures made here would be wrong; update torch and triton, or choose another back end (FSBENCH_… in the manual)"
)


def with_gaps(tensor: Tensor) -> Tensor:
    """Return a view of the same numbers, every second one of a tensor of twice the length."""
    return torch.stack([tensor, torch.full_like(tensor, torch.nan)], dim=-1)[..., 0]
