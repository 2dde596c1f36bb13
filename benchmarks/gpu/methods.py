"""Whole methods on a GPU beside the CPU: an answer and a training step at their own sizes, with random weights."""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn

from benchmarks.gpu.figures import Figures, Rows, cost
from benchmarks.speed.cases.methods import answer, learn, method_and_batch
from fsbench.runner.contract.resources import AGREEING, NEAR

METHODS = ("hsnet", "cst", "emat", "dcama", "hmnet")
BOUNDS = {("answer", "fp32"): 1e-3, ("training step", "fp32"): 1e-2, ("answer", "bf16"): NEAR}
"""Largest distance from the CPU in float32, relative to the norm of the CPU's; in bfloat16 that of `fsbench
check-method`, and none for gradients."""


def methods(device: torch.device, small: bool, deadline: float) -> Rows:
    """Yield an answer and a training step of every method, its frozen network in float32 and in bfloat16."""
    for name in METHODS:
        expected = cache(lambda kind, name=name: calls(name, torch.device("cpu"), small)[kind]().cpu().double())
        for precision in ("fp32", "bf16"):
            own = cache(partial(calls, name, device, small, precision))
            for kind in ("answer", "training step"):
                bound = BOUNDS.get((kind, precision))
                find = partial(_figures, own, kind, bound, expected, device)
                yield f"{name}, {kind}", f"{precision} network", find


def _figures(
    own: Callable[[], dict[str, Callable[[], Tensor]]],
    kind: str,
    bound: float | None,
    expected: Callable[[str], Tensor],
    device: torch.device,
) -> Figures:
    call, other = own()[kind], expected(kind)
    found = call().cpu().double()
    if not found.isfinite().all():
        raise FloatingPointError(f"{int((~found.isfinite()).sum())} of {found.numel()} numbers are not finite")
    seconds, mib = cost(call, device)
    note = f"{1 / seconds:.3g} {'episodes' if kind == 'answer' else 'steps'} a second"
    if kind == "answer":
        alike = float(((found > 0) == (other > 0)).float().mean())
        note += f", {alike:.2%} of the labels alike"
        bound = None if bound == NEAR and alike >= AGREEING else bound
    return Figures(float((found - other).norm() / other.norm()), bound, seconds, mib, note)


def calls(name: str, device: torch.device, small: bool, precision: str = "fp32") -> dict[str, Callable[[], Tensor]]:
    """Return an answer and a training step of a method with an episode of noise, every image encoded anew.

    Dropout is off, whose draws differ between devices.

    Args:
        name: the method.
        device: where it computes.
        small: on the demo's network.
        precision: of the frozen network.
    """
    method, batch = method_and_batch(device, name, small, precision)
    for module in method.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return {"answer": partial(answer, method, batch), "training step": partial(learn, method, batch)}
