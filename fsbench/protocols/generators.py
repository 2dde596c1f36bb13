"""Generators of random numbers as programs seed them, made again as objects: those of loader processes, and torch's."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

_AT_ONCE = 1 << 20
"""Numbers that are passed over at once."""


@dataclass(frozen=True)
class Generators:
    """The generators of one process, from which its episodes are drawn.

    Attributes:
        python: that of the module `random`.
        numpy: NumPy's legacy generator.
    """

    python: random.Random
    numpy: np.random.RandomState

    @classmethod
    def seeded(cls, seed: int) -> "Generators":
        """Seed both as a main process does."""
        return cls(random.Random(seed), np.random.RandomState(seed))

    @classmethod
    def for_worker(cls, base: int, worker: int) -> "Generators":
        """Seed both as torch's loader (1.9 and newer) seeds its worker process of this number.

        Args:
            base: seed of the loader's pass.
            worker: from 0.
        """
        words = (worker, base & 0xFFFFFFFF, base >> 32, 0)
        return cls(random.Random(base + worker), np.random.RandomState(np.random.SeedSequence(words).generate_state(4)))


def loader_seeds(seed: int, taken: int = 0) -> Iterator[int]:
    """Yield the base seeds that torch's loader gives its processes, pass after pass, after `torch.manual_seed(seed)`.

    Args:
        seed: of torch.
        taken: 32-bit numbers that are taken from torch's generator before the loader starts, as by a network's
            initialisation.
    """
    words = torch_words(seed, taken)
    while True:
        high, low = islice(words, 2)
        yield (high << 32 | low) & ((1 << 63) - 1)


def torch_words(seed: int, taken: int = 0) -> Iterator[int]:
    """Yield the 32-bit numbers of torch's generator on a CPU, which is the Mersenne Twister of NumPy's legacy one.

    The first `taken` are passed over.
    """
    rng = np.random.RandomState(seed & 0xFFFFFFFF)
    for start in range(0, taken, _AT_ONCE):
        rng.randint(0, 1 << 32, min(_AT_ONCE, taken - start), dtype=np.uint32)
    while True:
        yield from rng.randint(0, 1 << 32, 256, dtype=np.uint32).tolist()


def torch_permutation(length: int, seed: int) -> list[int]:
    """Return torch's `randperm(length)` on a CPU after `manual_seed(seed)`."""
    order = list(range(length))
    for place, word in enumerate(islice(torch_words(seed), max(length - 1, 0))):
        other = place + word % (length - place)
        order[place], order[other] = order[other], order[place]
    return order
