"""Draw the data sets of a cell, each from the cell's name and its number alone, and count what held."""

import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks.statistics.cells import CELLS
from benchmarks.statistics.results import Tally, count

CHUNK = 50
"""Data sets that a process draws before it tells of them."""


def generator(name: str, number: int) -> np.random.Generator:
    """Return the source of a cell's data set of that number.

    >>> bool(generator("a", 3).integers(1000) == generator("a", 3).integers(1000))
    True
    """
    return np.random.default_rng([zlib.crc32(name.encode()), number])


def simulate(name: str, first: int, last: int, jobs: int = 1) -> Iterator[dict[str, Tally]]:
    """Simulate the data sets `first` to `last` - 1 of a cell, and yield the counts of each part.

    Args:
        name: of the cell in `CELLS`.
        first, last: numbers of the data sets.
        jobs: processes.
    """
    parts = [(name, start, min(start + CHUNK, last)) for start in range(first, last, CHUNK)]
    if jobs == 1:
        yield from map(_part, parts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_part, parts)


def _part(part: tuple[str, int, int]) -> dict[str, Tally]:
    name, first, last = part
    return count(CELLS[name].draw(generator(name, number)) for number in range(first, last))
