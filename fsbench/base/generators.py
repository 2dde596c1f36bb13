"""Whether answers follow from their episodes alone: no random numbers of the process, no network in training mode."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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


@contextmanager
def steady(name: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with sentences about the method `name` if the block's answers do not follow from episodes alone.

    Dropout and layers with running statistics are seen wherever they are kept. One that is in training mode only while
    the block fits it is none that answers so.
    """
    torch: Any = sys.modules.get("torch")
    used: list[tuple[str, Any]] = []

    def look(module: Any, inputs: Any) -> None:
        scripted = isinstance(module, torch.jit.ScriptModule)  # whose layers call no hook, and state their class
        for layer in module.modules() if scripted else (module,):
            kind = str(getattr(layer, "original_name", type(layer).__name__))
            if "Drop" in kind or getattr(layer, "running_mean", None) is not None:
                used.append((kind, layer))

    before = generator_states()
    with ExitStack() as stack:
        if torch is not None:
            stack.callback(torch.nn.modules.module.register_module_forward_pre_hook(look).remove)
        yield
    if generator_states() != before:
        tell(
            f"{name} draws random numbers that do not follow from the episode, so another start scores differently; "
            "turn dropout off in a test, and seed a generator by the episode's number"
        )
    if kinds := sorted({kind for kind, layer in used if layer.training}):
        tell(f"{name} answers by {', '.join(kinds)} in training mode; call eval() on its network before the test")
