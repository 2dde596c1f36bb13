"""The rate of SGD, lowered after every step by a power of the steps that are left (hmnet.md §2.4.4, §10)."""

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
