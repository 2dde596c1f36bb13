"""Training epochs as PATNet's program draws them (patnet.md §5): from the second on, one epoch over and over.

Every epoch is seeded by Python's generator, which the validation after each of them leaves in the same state. HSNet's
program has the same trait. The first epoch follows from the state of the system there, and from the run's seed here.
"""

import random
from itertools import islice

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.draws.hsnet import draw_episode, hsnet_episode
from fsbench.protocols.draws.pools import Pool
from fsbench.protocols.draws.streams import loader_seeds, torch_permutation


def epoch_seed(epoch: int, seed: int) -> int:
    """Return the seed of a training epoch.

    >>> epoch_seed(0, 7), epoch_seed(1, 7), epoch_seed(2, 7)
    (32383, 84442, 84442)

    Args:
        epoch: its number, from 0.
        seed: what Python's generator is seeded with before the first epoch.
    """
    return int(random.Random(seed if epoch == 0 else 0).random() * 1e5)


def item_order(length: int, seed: int) -> list[int]:
    """Return the order of an epoch's items, from torch's generator after the loader has taken one number."""
    return torch_permutation(length, next(islice(loader_seeds(seed), 1, None)))


def recurring_epoch(pool: Pool, length: int, seed: int, shot: int = 1, background: bool = False) -> list[Episode]:
    """Draw the episodes of an epoch, in order; an episode's number is that of its item.

    Args:
        pool: what is drawn from.
        length: number of items.
        seed: the seed of the epoch.
        shot: supports of an episode, which may repeat.
        background: allow queries that show none of the support class, which the program has not; they are drawn from
            its stream as the suite draws them.

    Raises:
        TooFewImages: the program would loop forever.
    """
    rng = np.random.RandomState(seed)
    if background:
        return [draw_episode(i, rng, pool, way=1, shot=shot, background=True) for i in item_order(length, seed)]
    return [hsnet_episode(item, rng, pool, shot) for item in item_order(length, seed)]
