"""The rate of SGD, lowered after every step by a power of the steps that are left (hmnet.md §2.4.4, §10)."""

from collections.abc import Iterable
from typing import Any

import torch


def poly_rate(base: float, step: int, steps: int, factor: float = 10, power: float = 0.9) -> float:
    """Return the polynomial learning rate, factor · base · (1 - step / steps) ** power, at step 1..`steps`.

    The authors' programs multiply the base rate of all parameter groups by `factor`.
    """
    return factor * base * (1 - step / steps) ** power


def poly_schedule(
    optimizer: torch.optim.Optimizer, steps: int, power: float = 0.9
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the polynomial schedule: step i of 1..`steps` has the initial rate times (1 - i / steps) ** power."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: poly_rate(1.0, min(done + 1, steps), steps, factor=1, power=power)
    )


def module_parameters(head: torch.nn.Module, names: Iterable[str]) -> list[list[torch.nn.Parameter]]:
    """Return the parameters of each named module, one list a module; names that the head does not have are skipped."""
    return [list(getattr(head, name).parameters()) for name in names if hasattr(head, name)]


def tenfold_sgd(
    groups: Iterable[Iterable[torch.nn.Parameter]],
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    steps: int,
) -> dict[str, Any]:
    """Return SGD with ten times the rate and its polynomial schedule, as Lightning's `configure_optimizers` does.

    Args:
        groups: parameters of each parameter group.
        learning_rate: rate before the authors' factor of ten.
        momentum, weight_decay: momentum and weight decay of all groups, biases included.
        steps: number of steps of the whole training.
    """
    listed = [{"params": list(group)} for group in groups]
    optimizer = torch.optim.SGD(listed, 10 * learning_rate, momentum, weight_decay=weight_decay)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": poly_schedule(optimizer, steps), "interval": "step"}}
