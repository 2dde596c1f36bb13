"""Streams: the generators and seeds that episodes are drawn from, and what else these hang on (atlas-runs.md §4).

Generators are those that programs seed, made again as objects: a main process's, those of loader processes, torch's.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from fsbench.base.errors import SettingsError

_AT_ONCE = 1 << 20
"""Numbers that are passed over at once."""


@dataclass(frozen=True)
class Generators:
    """Random generators of one process, from which its episodes are drawn.

    Attributes:
        python: generator of the module `random`.
        numpy: numpy's legacy generator.
    """

    python: random.Random
    numpy: np.random.RandomState

    @classmethod
    def seeded(cls, seed: int) -> "Generators":
        """Return both generators seeded with the same number, as in a program's main process."""
        return cls(random.Random(seed), np.random.RandomState(seed))

    @classmethod
    def for_worker(cls, base: int, worker: int) -> "Generators":
        """Return both generators seeded as torch's loader (1.9 and newer) seeds a worker process.

        Args:
            base: base seed of the loader's pass over the data.
            worker: number of the worker, from 0.
        """
        words = (worker, base & 0xFFFFFFFF, base >> 32, 0)
        return cls(random.Random(base + worker), np.random.RandomState(np.random.SeedSequence(words).generate_state(4)))


def loader_seeds(seed: int, taken: int = 0) -> Iterator[int]:
    """Yield the base seed of each pass of torch's loader after `torch.manual_seed(seed)`.

    Args:
        seed: the seed of torch.
        taken: 32-bit numbers that are taken from torch's generator before the loader starts, as by a network's
            initialisation.
    """
    words = torch_words(seed, taken)
    while True:
        high, low = islice(words, 2)
        yield (high << 32 | low) & ((1 << 63) - 1)


def torch_words(seed: int, taken: int = 0) -> Iterator[int]:
    """Yield the 32-bit numbers of torch's CPU generator, which is numpy's legacy Mersenne Twister.

    Args:
        seed: the seed.
        taken: how many of the first numbers are skipped.
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


NumpyInWorkers = Literal["seeded", "copied"]
"""NumPy's state in loader processes: seeded for each (PyTorch 1.9 and newer), or a copy of the main process's."""


@dataclass(frozen=True)
class Streams:
    """Processes that draw episodes, and how their random generators are seeded.

    Attributes:
        seed: seed of all generators of the main process before the first pass; None seeds each episode with its number.
        workers: number of loader processes; with 0 the main process draws, and its generators are not seeded anew
            between passes.
        network_words: 32-bit numbers that the network's initialisation takes from torch's generator between the seed
            and the loader.
        base_seeds: seed of each pass of the loader; () if the seeds follow from `seed`.
        numpy: state of numpy's generator in loader processes: "seeded" for each worker, or "copied" from the main
            process.
    """

    seed: int | None
    workers: int = 0
    network_words: int = 0
    base_seeds: tuple[int, ...] = ()
    numpy: NumpyInWorkers = "seeded"

    def items(self, length: int) -> Iterator[tuple[int, Generators]]:
        """Yield positions 0 to `length` - 1 again and again, each with the generators that its episode is drawn from.

        Item i of a pass is served by process i mod `workers`, whose generators are seeded anew for each pass.

        Raises:
            SettingsError: more passes are needed than `base_seeds` has seeds.
        """
        if not self.workers:
            own = Generators.seeded(self._seed)
            while True:
                yield from ((place, own) for place in range(length))
        for base in self._bases():
            processes = [self._worker(base, worker) for worker in range(self.workers)]
            for place in range(length):
                yield place, processes[place % self.workers]

    @property
    def _seed(self) -> int:
        return self.seed or 0

    def _bases(self) -> Iterator[int]:
        if not self.base_seeds:
            yield from loader_seeds(self._seed, self.network_words)
        yield from self.base_seeds
        raise SettingsError(
            f"base_seeds has {len(self.base_seeds)} seeds, and the episodes need another pass; expected a seed for each"
        )

    def _worker(self, base: int, worker: int) -> Generators:
        seeded = Generators.for_worker(base, worker)
        return seeded if self.numpy == "seeded" else Generators(seeded.python, np.random.RandomState(self._seed))


@dataclass(frozen=True)
class Dependence:
    """Something that episodes depend on besides the seed, such as the number of loader processes.

    Attributes:
        settings: names of the fields of `fsbench.protocols.draws.listed.Listed` that set it, such as ("workers",).
        in_spirit: why episodes drawn by fsbench may differ from those of the program; "" if they are the same.
    """

    settings: tuple[str, ...] = ()
    in_spirit: str = ""


WORKERS = Dependence(("workers",))
GPUS = Dependence(("gpus",))
BATCH = Dependence(("batch",))
NETWORK = Dependence(
    ("network_words", "base_seeds"),
    "the loader's seeds follow from how the network is initialised; here they are those without one, unless "
    "network_words or base_seeds tells",
)
TORCH = Dependence(("numpy_in_workers",))
FILE_ORDER = Dependence()
UNSEEDED = Dependence(in_spirit="the program sets no seed; here it is one of ours")


@dataclass(frozen=True)
class Seeds:
    """The seeds of a test's runs.

    Attributes:
        values: the seed of each run, first that of the run that fsbench tests; () if each episode is seeded with its
            own number.
        in_spirit: why fsbench's seeds may differ from those of the program; "" if they are the same.
    """

    values: tuple[int, ...]
    in_spirit: str = ""


_LARGEST_DRAWN = 1000
"""Programs that draw their seeds take them from 0 to 999."""
_FORMS = (
    (r"(\d+(?:, ?\d+)*)", lambda m: Seeds(tuple(map(int, m[1].split(","))))),
    (r"(\d+)-(\d+)", lambda m: Seeds(tuple(range(int(m[1]), int(m[2]) + 1)))),
    (
        r"(\d+) seeds drawn (?:with numpy seed|from manual_seed) (\d+)",
        lambda m: Seeds(drawn_seeds(int(m[1]), int(m[2]))),
    ),
    (r"(\d+), one stream for \d+ runs", lambda m: Seeds((int(m[1]),))),
    (r"(\d+) \(a generator .*\)", lambda m: Seeds((int(m[1]),))),
    ("unseeded|none", lambda m: Seeds((0,), in_spirit=UNSEEDED.in_spirit)),
)
"""Forms of `seeds` in a row, each with what it means."""


def drawn_seeds(number: int, seed: int) -> tuple[int, ...]:
    """Return the `number` seeds that a program draws for its runs with numpy's legacy generator, seeded with `seed`.

    >>> drawn_seeds(5, 123)
    (510, 365, 382, 322, 988)
    """
    return tuple(np.random.RandomState(seed).randint(0, _LARGEST_DRAWN, number).tolist())


def parse_seeds(text: str) -> Seeds | None:
    """Parse the seeds that the atlas states for a program, such as "1234-1236"; None for other text.

    >>> parse_seeds("1234-1236").values
    (1234, 1235, 1236)
    """
    for pattern, read in _FORMS:
        match = re.fullmatch(pattern, text)
        if match:
            return read(match)
    return None


def episode_generators(seed: int) -> Iterator[np.random.Generator]:
    """Yield a generator for each episode, seeded by `seed`, the episode's number and epoch 0."""
    number = 0
    while True:
        yield np.random.default_rng((seed, number, 0))
        number += 1
