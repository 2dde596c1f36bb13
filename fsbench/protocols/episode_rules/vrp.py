"""The episodes that VRP-SAM's program trains on and validates with (vrp-sam.md §9).

It draws from Python's, NumPy's and torch's global generators, which every process seeds alike. Here these are objects,
so that any process can draw what any other would have drawn.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.episode_rules.hsnet import episode_with_repeats, hsnet_episode
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.episode_rules.rules import DrawRule, EpisodeSource
from fsbench.protocols.episode_rules.streams import Generators, loader_seeds, torch_permutation

SEED = 321
"""Seed of the draws of every validation; an epoch of the training adds its number to it."""


@dataclass(frozen=True)
class Division:
    """How VRP-SAM's program divides its work over processes.

    Attributes:
        processes: number of processes of the distributed training.
        batch: number of episodes that a process takes at a time.
        workers: number of loader processes of each in training; the validation has none.
    """

    processes: int = 4
    batch: int = 2
    workers: int = 8


OFFICIAL = Division()


def classes_shown(pool: Pool) -> Callable[[str], list[int]]:
    """Return a function from an image name to the classes that it shows, ascending, by label map or listed pairs."""
    if pool.classes_of is not None:
        return pool.shown
    shown: dict[str, list[int]] = {}
    for name, number in sorted(pool.pairs, key=lambda pair: pair[1]):
        shown.setdefault(name, []).append(number)
    return shown.__getitem__


def vrp_episode(episode: int, pool: Pool, shown: Callable[[str], list[int]], streams: Generators, shot: int) -> Episode:
    """Draw a 1-way episode as VRP-SAM's program does; supports may repeat.

    If queries are listed (PASCAL), the query is image `episode` of the list, and its class one of those that it shows.
    If not (COCO), the class is drawn first, then the query, and `episode` is only the number.

    Args:
        episode: number of the episode.
        pool: possible queries and supports.
        shown: function from an image name to the classes that the image shows, ascending.
        streams: the random generators, of Python and numpy.
        shot: number of supports.

    Raises:
        TooFewImages: the official program would loop forever.
    """
    if pool.query_sampling == "class_first":
        return hsnet_episode(episode, streams.numpy, pool, shot)
    query = pool.images[episode % len(pool.images)]
    classes = shown(query)
    number = classes[streams.python.randint(1, len(classes)) - 1]
    return episode_with_repeats(episode, query, number, streams.numpy, pool, shot)


def validation_episodes(
    pool: Pool, streams: Generators, shot: int, process: int = 0, processes: int = OFFICIAL.processes
) -> Iterator[Episode]:
    """Yield the episodes of one process's validation in VRP-SAM's program, without end.

    All processes start with equally seeded generators. On COCO, whose queries are drawn, the four processes of the
    official program therefore have the same episodes: of 1000 validated ones only 250 are distinct.

    Args:
        pool: possible queries and supports.
        streams: the process's random generators.
        shot: number of supports.
        process: number of the process.
        processes: number of all processes.
    """
    episode, shown = process, classes_shown(pool)
    while True:
        yield vrp_episode(episode, pool, shown, streams, shot)
        episode += processes


def training_epoch(pool: Pool, epoch: int, shot: int = 1, division: Division = OFFICIAL) -> list[list[Episode]]:
    """Return the episodes of a training epoch of VRP-SAM's program, one list for each process.

    The order of the items is the same in every epoch. Worker w of every process has the same random generators, so that
    on COCO all processes train on the same episodes.

    Args:
        pool: possible queries and supports.
        epoch: number of the epoch.
        shot: number of supports.
        division: how the work is divided over processes.
    """
    order = torch_permutation(len(pool.images), 0)
    filled = filled_length(pool, division)
    order = (order * -(-filled // len(order)))[:filled]
    base, shown = next(loader_seeds(SEED + epoch)), classes_shown(pool)
    processes = []
    for process in range(division.processes):
        own = order[process :: division.processes]
        workers = [Generators.for_worker(base, worker) for worker in range(max(division.workers, 1))]
        drawn = []
        for place, episode in enumerate(own):
            worker = place // division.batch % len(workers)
            drawn.append(vrp_episode(episode, pool, shown, workers[worker], shot))
        processes.append(drawn)
    return processes


def filled_length(pool: Pool, division: Division = OFFICIAL) -> int:
    """Return the number of episodes of a training epoch over all processes: the images, rounded up to equal shares."""
    return -(-len(pool.images) // division.processes) * division.processes


def training_steps(pool: Pool, epoch: int, shot: int = 1, division: Division = OFFICIAL) -> list[Episode]:
    """Return the episodes of a training epoch of VRP-SAM's program in the order of optimiser steps."""
    processes = training_epoch(pool, epoch, shot, division)
    starts = range(0, len(processes[0]), division.batch)
    return [episode for start in starts for own in processes for episode in own[start : start + division.batch]]


def _vrp(source: EpisodeSource) -> Iterator[Episode]:
    """Draw the class by Python's generator and supports by NumPy's (vrp-sam.md §9).

    Processes of several GPUs share the images; all begin with the same seed.
    """
    processes = [source.streams.items(source.asked) for _ in range(source.gpus)]
    for episode, process in enumerate(cycle(processes)):
        _, generators = next(process)
        yield vrp_episode(episode, source.pool, source.pool.shown, generators, source.shot)


SUPPORTS_REPEAT = DrawRule(_vrp, supports_repeat=True)
