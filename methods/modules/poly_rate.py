"""The rate of SGD, lowered after every step by a power of the steps that are left (hmnet.md §2.4.4, §10)."""

from collections.abc import Iterable
from typing import Any

import torch


def poly_rate(base: float, step: int, steps: int, factor: float = 10, power: float = 0.9) -> float:
    """Return SGD's learning rate at step 1..`steps`; the authors' rule multiplies all groups by ten."""
    return factor * base * (1 - step / steps) ** power


def poly_schedule(
    optimizer: torch.optim.Optimizer, steps: int, power: float = 0.9
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the schedule by which step i of 1..`steps` has the rate times (1 - i / steps) ** power; the last has 0."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: poly_rate(1.0, min(done + 1, steps), steps, factor=1, power=power)
    )


def module_parameters(head: torch.nn.Module, names: Iterable[str]) -> list[list[torch.nn.Parameter]]:
    """Return the parameters of those of the named modules that a head has."""
    return [list(getattr(head, name).parameters()) for name in names if hasattr(head, name)]


def tenfold_sgd(
    groups: Iterable[Iterable[torch.nn.Parameter]],
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    steps: int,
) -> dict[str, Any]:
    """Return SGD with a tenfold rate for all `groups`, and `poly_schedule`, in Lightning's form.

    Args:
        groups: parameters of each group.
        learning_rate: rate before the authors' factor of ten.
        momentum, weight_decay: of all groups, biases included.
        steps: the steps of the whole training.
    """
    listed = [{"params": list(group)} for group in groups]
    optimizer = torch.optim.SGD(listed, 10 * learning_rate, momentum, weight_decay=weight_decay)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": poly_schedule(optimizer, steps), "interval": "step"}}
