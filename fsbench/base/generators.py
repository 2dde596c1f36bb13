"""Whether an answer moved the random generators of the process, which no answer to an episode may depend on."""

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


@contextmanager
def steady(name: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with a sentence about the method `name` if the block leaves a generator in another state."""
    before = generator_states()
    yield
    if generator_states() != before:
        tell(
            f"{name} draws random numbers that do not follow from the episode, so another start scores differently; "
            "turn dropout off in a test, and seed a generator by the episode's number"
        )
