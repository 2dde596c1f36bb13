"""Whether answers follow from their episodes alone: no random numbers of the process, no network in training mode."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def generator_states() -> tuple[Any, ...]:
    """Return the states of the generators of Python, numpy and, where it is in use, torch, in a form to compare."""
    torch: Any = sys.modules.get("torch")  # what nobody has imported draws nothing
    of_numpy: Any = np.random.get_state(legacy=True)
    kind, keys, *places = of_numpy
    states: tuple[Any, ...] = (random.getstate(), kind, keys.tobytes(), *places)
    if torch is not None:
        gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        states += tuple(state.numpy().tobytes() for state in (torch.get_rng_state(), *gpus))
    return states


def _kind(layer: Any) -> str:
    return str(getattr(layer, "original_name", type(layer).__name__))  # of a scripted layer the name of its class


@contextmanager
def _layers_used() -> Iterator[list[Any]]:
    """Yield a list that gets the layers that compute within the block and depend on their mode, wherever they are kept.

    These are dropout and layers with running statistics.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield []
        return
    used = list[Any]()

    def look(module: Any, inputs: Any) -> None:
        scripted = isinstance(module, torch.jit.ScriptModule)  # whose layers call no hook
        used.extend(
            layer
            for layer in (module.modules() if scripted else (module,))
            if "Drop" in _kind(layer) or getattr(layer, "running_mean", None) is not None
        )

    handle = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield used
    finally:
        handle.remove()


@contextmanager
def steady(name: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with sentences about the method `name` if the block's answers do not follow from episodes alone.

    A layer that is in training mode only while the block fits it is none that answers so.
    """
    before = generator_states()
    with _layers_used() as used:
        yield
    if generator_states() != before:
        tell(
            f"{name} draws random numbers that do not follow from the episode, so another start scores differently; "
            "turn dropout off in a test, and seed a generator by the episode's number"
        )
    if kinds := sorted({_kind(layer) for layer in used if layer.training}):
        tell(f"{name} answers by {', '.join(kinds)} in training mode; call eval() on its network before the test")
