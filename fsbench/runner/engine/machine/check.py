"""Whether this machine has what a run asks for, asked before anything of the run is made."""

import os
from typing import Any

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from fsbench.base.environment import check_temporary_folder
from fsbench.base.errors import SettingsError, known_names
from fsbench.runner.config.limits import device_count
from fsbench.runner.engine.machine.launch import check_launch

LEAST_LIMIT = 64
"""Number of processes that run without GPUs which any machine may be asked for; more than its cores make sense in
tests alone."""


def check_machine(trainer: dict[str, Any]) -> None:
    """Raise SettingsError if this machine cannot run with the given trainer settings.

    The reasons are: the accelerator, strategy, precision or number of devices is not available, or is not what a
    launcher started; or no folder for temporary files is usable.

    Args:
        trainer: {name: plain value} of the arguments of Lightning's Trainer.
    """
    check_temporary_folder()
    accelerator, strategy, devices = (trainer[name] for name in ("accelerator", "strategy", "devices"))
    if isinstance(accelerator, str) and accelerator not in ("auto", "gpu"):
        known = AcceleratorRegistry.available_accelerators()
        if accelerator not in known:
            names = known_names(accelerator, ["auto", "gpu", *sorted(known)])
            raise SettingsError(f"trainer.accelerator is '{accelerator}'{names}")
        try:
            is_here = bool(AcceleratorRegistry.get(accelerator).is_available())
        except ImportError:  # as the TPU's, whose package is not installed
            is_here = False
        if not is_here:
            raise SettingsError(f"trainer.accelerator is {accelerator}, which this machine does not have; take auto")
    count = device_count(devices) or 1
    check_launch(count, int(trainer["num_nodes"]))
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if accelerator == "gpu" and not gpus:
        raise SettingsError("trainer.accelerator is gpu, but torch sees none on this machine; take auto or cpu")
    on_gpus = bool(gpus) and accelerator in ("auto", "gpu", "cuda", "mps")
    if not on_gpus and accelerator in ("auto", "cpu") and str(trainer["precision"]) in ("16", "16-mixed"):
        raise SettingsError(  # Lightning would take bf16-mixed, and the record would still say 16-mixed
            f"precision is {trainer['precision']}, which a CPU does not have; expected a GPU, or "
            "--trainer.precision bf16-mixed or 32-true, which is another run"
        )
    if isinstance(strategy, str) and strategy != "auto":
        strategies = StrategyRegistry.available_strategies()
        if strategy not in strategies:
            names = known_names(strategy, dict.fromkeys(["auto", "ddp", *strategies]))
            raise SettingsError(f"trainer.strategy is '{strategy}'{names}")
    most = gpus if on_gpus else max(LEAST_LIMIT, os.cpu_count() or 1)
    if count > most:
        raise SettingsError(
            f"devices is {count}, but this machine has {gpus} GPUs"
            if on_gpus
            else f"devices is {count}, expected at most {most} processes on this machine without GPUs"
        )
