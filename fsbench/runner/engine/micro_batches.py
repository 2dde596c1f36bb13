"""Lightning counts micro-batches where the suite's settings count optimiser steps: one in terms of the other."""

from typing import Any

import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.nn.modules.batchnorm import _BatchNorm

from fsbench.base.errors import SettingsError
from fsbench.core.method import Method
from fsbench.datamodules.loading.step_division import StepDivision
from fsbench.runner.config.trainer_settings import REFUSED

STEPS = ("limit_train_batches", "val_check_interval")
"""Settings of the trainer that count optimiser steps if they are whole numbers, and else parts of an epoch."""


def check_accumulation(trainer: dict[str, Any], accumulation: int, callbacks: Any = None) -> None:
    """Raise SettingsError if trainer settings contradict the division of a step into micro-batches.

    Args:
        trainer: {name: plain value} of the arguments of Lightning's Trainer.
        accumulation: number of micro-batches per process and optimiser step.
        callbacks: the callbacks that the settings name: several, one or None.
    """
    for callback in callbacks if isinstance(callbacks, list | tuple) else [callbacks]:
        if isinstance(callback, GradientAccumulationScheduler):  # another that sets it is refused where it does
            raise SettingsError(
                f"trainer.callbacks has {type(callback).__name__}, which sets accumulate_grad_batches, but "
                f"{REFUSED['accumulate_grad_batches'][1]}"
            )
    parts = [name for name in STEPS if whole(trainer[name]) is None and trainer[name] not in (None, 1.0)]
    if accumulation > 1 and parts:
        raise SettingsError(
            f"trainer.{parts[0]} is {trainer[parts[0]]}, which may end within a step of {accumulation} micro-batches; "
            "expected a number of steps (limit_train_batches, val_check_interval), or no MICRO_BATCH"
        )


def in_micro_batches(trainer: dict[str, Any], accumulation: int, automatic: bool) -> dict[str, Any]:
    """Convert trainer settings that count optimiser steps to Lightning's, which count micro-batches.

    Args:
        trainer: {name: value} of the arguments of Lightning's Trainer, counted in optimiser steps.
        accumulation: number of micro-batches per process and optimiser step.
        automatic: whether Lightning accumulates gradients; a method with several optimisers does it itself.
    """
    counts = {name: whole(trainer[name]) for name in STEPS}
    limits = {name: steps * accumulation for name, steps in counts.items() if steps is not None}
    return limits | ({"accumulate_grad_batches": accumulation} if automatic else {})


def whole(value: Any) -> int | None:
    """Return a number of steps as Lightning reads it, also one that was parsed as 4.0; None for parts of an epoch."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, float) and value > 1 and value.is_integer() else None


def step_division_facts(division: StepDivision, method: Method, synchronised: bool) -> dict[str, Any]:
    """Return {entry of the record: value} on how a training step is divided into micro-batches.

    Args:
        division: how a step is divided over processes and micro-batches.
        method: the method that is trained.
        synchronised: whether batch normalisation is synchronised over processes. If the method trains any, the entry
            `normalised_over` is the number of items over which it normalises.
    """
    step: dict[str, Any] = division.as_dict()
    norms = [module.weight for module in method.modules() if isinstance(module, _BatchNorm)]
    if any(weight is None or weight.requires_grad for weight in norms):
        step["normalised_over"] = division.micro_batch * (division.processes if synchronised else 1)
    return step


def out_of_memory(division: StepDivision, error: torch.OutOfMemoryError) -> str:
    """Return the error message for a training that does not fit into a device's memory, with what to change."""
    smaller = [n for n in range(1, division.micro_batch) if division.share % n == 0]
    advice = (
        f"give --micro-batch {smaller[-1]} or less; the batch stays {division.batch_size}"
        if smaller
        else "one episode does not fit; expected a device with more memory, or smaller images"
    )
    return f"{str(error).splitlines()[0]} A process takes {division.micro_batch} episodes at once: {advice}"
