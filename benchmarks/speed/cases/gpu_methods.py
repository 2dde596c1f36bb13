"""Whole methods on a GPU beside the CPU: an answer and a training step at their own sizes, with random weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.cases.gpu_figures import Figures, Rows, cost
from benchmarks.speed.cases.methods import method_settings, training_batch
from fsbench.methods.modules.base_ensemble import EnsembleSegmenter
from fsbench.runner.contract.resources import AGREEING, NEAR

METHODS = ("hsnet", "cst", "emat", "dcama", "hmnet")
BOUNDS = {("answer", "fp32"): 1e-3, ("training step", "fp32"): 1e-2, ("answer", "bf16"): NEAR}
"""Largest distance from the CPU in float32, relative to the norm of the CPU's; in bfloat16 that of `fsbench
check-method`, and none for gradients."""


def methods(device: torch.device, small: bool, deadline: float) -> Rows:
    """Yield an answer and a training step of every method, its frozen network in float32 and in bfloat16."""
    for name in METHODS:

        @cache
        def expected(kind: str, name: str = name) -> Tensor:
            return Subject(name, torch.device("cpu"), small).values(kind)

        for precision in ("fp32", "bf16"):
            subject = cache(partial(Subject, name, device, small, precision))
            for kind in ("answer", "training step"):
                bound = BOUNDS.get((kind, precision))
                yield f"{name}, {kind}", f"{precision} network", partial(_figures, subject, kind, bound, expected)


def _figures(
    subject: Callable[[], "Subject"], kind: str, bound: float | None, expected: Callable[[str], Tensor]
) -> Figures:
    own, other = subject().values(kind).cpu(), expected(kind)
    if not own.isfinite().all():
        raise FloatingPointError(f"{int((~own.isfinite()).sum())} of {own.numel()} numbers are not finite")
    error = float((own - other).norm() / other.norm())
    seconds, mib = cost(subject().calls[kind], subject().device)
    unit = "episodes" if kind == "answer" else "steps"
    note = f"{1 / seconds:.3g} {unit} a second"
    if kind == "answer":
        alike = float(((own > 0) == (other > 0)).float().mean())
        note += f", {alike:.2%} of the labels alike"
        bound = None if bound is not None and bound == NEAR and alike >= AGREEING else bound
    return Figures(error, bound, seconds, mib, note)


@dataclass
class Subject:
    """A method on a device with an episode of noise, every image encoded anew.

    Dropout is off, whose draws differ between devices.

    Attributes:
        name: the method.
        device: where it computes.
        small: on the demo's network.
        precision: of the frozen network.
        calls: an answer, and a training step.
    """

    name: str
    device: torch.device
    small: bool
    precision: str = "fp32"
    calls: dict[str, Callable[[], Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        composed = method_settings(self.name, self.small)
        composed.config.model.init_args.backbone.precision = self.precision
        torch.manual_seed(0)
        self.method: Any = composed.build_method().to(self.device)
        if isinstance(self.method, EnsembleSegmenter):
            self.method.base_classes = range(1, 16)  # those of a fold of PASCAL
        for module in self.method.modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.p = 0.0
            elif isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
        self.batch = training_batch(int(composed.config.data.init_args.image_size), self.device)
        self.calls = {"answer": self.answer, "training step": self.learn}

    def values(self, kind: str) -> Tensor:
        """Return what is compared: margins or labels of an answer; loss and gradients of a step."""
        return self.calls[kind]().detach().double().flatten()

    def answer(self) -> Tensor:
        """Return the margin of the foreground at each pixel, or its label where the method gives no logits."""
        self.method.eval().backbone.cache.clear()
        with torch.inference_mode():
            found = self.method.predict_shots(self.batch.without_truth())
        return found.label_map if found.logits is None else found.logits[:, 1] - found.logits[:, 0]

    def learn(self) -> Tensor:
        """Return the loss and all gradients of a training step."""
        self.method.train().backbone.cache.clear()
        self.method.zero_grad(set_to_none=True)
        loss = self.method.losses_of_step(self.batch)["loss"]
        loss.backward()
        gradients = [p.grad.flatten() for p in self.method.parameters() if p.grad is not None]
        return torch.cat([loss.detach().view(1), *gradients])
