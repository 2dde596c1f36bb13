"""Training epochs as PATNet's program draws them (patnet.md §5): from the second on, one epoch over and over.

Every epoch is seeded by Python's generator, which the validation after each of them leaves in the same state. HSNet's
program has the same trait. The first epoch follows from the state of the system there, and from the run's seed here.
"""

import random
from itertools import islice

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.episode_rules.hsnet import draw_episode, hsnet_episode
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.episode_rules.streams import loader_seeds, torch_permutation


def epoch_seed(epoch: int, seed: int) -> int:
    """Return the seed of a training epoch of PATNet's program.

    >>> epoch_seed(0, 7), epoch_seed(1, 7), epoch_seed(2, 7)
    (32383, 84442, 84442)

    Args:
        epoch: number of the epoch, from 0.
        seed: seed of Python's generator before the first epoch.
    """
    return int(random.Random(seed if epoch == 0 else 0).random() * 1e5)


def item_order(length: int, seed: int) -> list[int]:
    """Return the order in which an epoch visits items 0..length-1, drawn from torch's generator with this seed."""
    return torch_permutation(length, next(islice(loader_seeds(seed), 1, None)))


def recurring_epoch(pool: Pool, length: int, seed: int, shot: int = 1, background: bool = False) -> list[Episode]:
    """Return the episodes of a training epoch of PATNet's program, in order; episode numbers are item numbers.

    Args:
        pool: possible queries and supports.
        length: number of items.
        seed: the seed of the epoch.
        shot: number of supports, which may repeat.
        background: allow queries that do not show the supports' class; the authors' program has no such queries.

    Raises:
        TooFewImages: the program would loop forever.
    """
    rng = np.random.RandomState(seed)
    if background:
        return [draw_episode(i, rng, pool, way=1, shot=shot, background=True) for i in item_order(length, seed)]
    return [hsnet_episode(item, rng, pool, shot) for item in item_order(length, seed)]
