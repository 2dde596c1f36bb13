"""Switches of the process that a run sets: in one place, and given back after it, since a notebook goes on."""

import logging
import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch

backends: Any = torch.backends  # whose own types lack `conv` and `rnn`

Switch = tuple[Callable[[], Any], Callable[[Any], object]]
"""A function that reads a value of this process, and one that sets it."""


def allow_tf32(matmul: bool, convolutions: bool) -> None:
    """Set whether CUDA uses TF32 for matrix products and for convolutions, whatever was set before.

    torch has an older and a newer interface for each setting, and refuses to read the older one, which Lightning and
    torch.compile use, where the two differ. So both interfaces are set alike. Convolutions on the CPU stay unrounded.
    """
    torch.set_float32_matmul_precision("high" if matmul else "highest")
    backends.cudnn.allow_tf32 = convolutions
    for part in (backends.cudnn.conv, backends.cudnn.rnn):
        part.fp32_precision = "tf32" if convolutions else "ieee"
    for part in (backends.mkldnn.conv, backends.mkldnn.rnn):
        part.fp32_precision = "ieee"


def tf32_allowed() -> list[bool]:
    """Return two flags: whether CUDA uses TF32 for matrix products, and whether it does for convolutions."""
    return [part.fp32_precision == "tf32" for part in (backends.cuda.matmul, backends.cudnn.conv)]


@contextmanager
def apart_from_program(keeps_type: bool = False) -> Iterator[None]:
    """Within the block, put off an autocast that the program around it has set, and a default type unless it is kept.

    What a run sets itself, such as the precision of Lightning's Trainer, is entered within the block.
    """
    with ExitStack() as stack:
        torch.clear_autocast_cache()  # which torch itself does at the end of the outermost autocast alone
        for device in ("cpu", "cuda", "mps"):
            stack.callback(torch.set_autocast_enabled, device, torch.is_autocast_enabled(device))
            torch.set_autocast_enabled(device, False)
        if not keeps_type:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        yield


@contextmanager
def with_tf32(matmul: bool, convolutions: bool) -> Iterator[None]:
    """Within the block, CUDA uses TF32 as `allow_tf32` sets it; all switches for it are given back afterwards."""
    before = _values(name for name in SWITCHES if "TF32" in name or "tf32" in name or "precision" in name)
    allow_tf32(matmul, convolutions)
    try:
        yield
    finally:
        _give_back(before)


def _values(names: Iterable[str]) -> dict[str, Any]:
    """Return the values of switches by their names."""
    values = {}
    for name in names:
        with suppress(RuntimeError):  # of torch, where its two interfaces differ: the newer one's switches follow
            values[name] = SWITCHES[name][0]()
    return values


def _give_back(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        SWITCHES[name][1](value)


@contextmanager
def kept_global_state() -> Iterator[dict[str, Any]]:
    """Restore this process's global settings of torch, numpy and Python after the block; also usable as a decorator.

    The settings are those in the table `SWITCHES` (TF32, threads, random generators, environment and more), and
    Python's filters of warnings. Within the block, types that the program around it has set are put off.

    Yields:
        {name of a setting in `SWITCHES`: its value before the block}.
    """
    before = _values(SWITCHES)
    with warnings.catch_warnings(), apart_from_program():
        try:
            yield before
        finally:
            _give_back(before)


def _attribute(owner: Any, name: str) -> Switch:
    return partial(getattr, owner, name), partial(setattr, owner, name)


def _level(name: str) -> Switch:
    logger = logging.getLogger(name)
    return lambda: logger.level, logger.setLevel


def _set_environment(values: dict[str, str]) -> None:
    for name in os.environ.keys() - values:
        del os.environ[name]
    os.environ.update(values)


def _states_of_gpus() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _set_states_of_gpus(states: list[torch.Tensor]) -> None:
    if states:
        torch.cuda.set_rng_state_all(states)
    elif torch.cuda.is_initialized():  # within the block: they stand where the seed has put them
        torch.cuda.manual_seed_all(torch.initial_seed())


def _gpu() -> int | None:
    return torch.cuda.current_device() if torch.cuda.is_initialized() else None


def _choose_gpu(number: int | None) -> None:
    if number is not None:
        torch.cuda.set_device(number)


SWITCHES: Mapping[str, Switch] = {
    "TF32 of products": _attribute(backends.cuda.matmul, "allow_tf32"),  # which the next one sets, too, and finer
    "torch's precision of products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    **{f"cuDNN's {name}": _attribute(backends.cudnn, name) for name in ("allow_tf32", "benchmark", "deterministic")},
    **{
        f"{library_name}'s precision of {name}": _attribute(getattr(library, name), "fp32_precision")
        for library_name, library in (("cuDNN", backends.cudnn), ("oneDNN", backends.mkldnn))
        for name in ("conv", "rnn")
    },
    "CUDA's precision of products": _attribute(backends.cuda.matmul, "fp32_precision"),
    "oneDNN's precision of products": _attribute(backends.mkldnn.matmul, "fp32_precision"),
    "torch's deterministic kernels": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "torch's threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's default type": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's random generator": (torch.get_rng_state, torch.set_rng_state),
    "the random generators of GPUs": (_states_of_gpus, _set_states_of_gpus),
    "the chosen GPU": (_gpu, _choose_gpu),
    "Python's random generator": (random.getstate, random.setstate),
    "numpy's random generator": (np.random.get_state, np.random.set_state),
    "the environment": (lambda: dict(os.environ), _set_environment),
    **{
        f"the log {name}": _level(name)
        for name in ("lightning", "lightning.pytorch", "lightning.fabric", "transformers")
    },
}
"""Values of the process that `kept_global_state` gives back in this order: torch's older interface to TF32 first."""
