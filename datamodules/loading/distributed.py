"""Which rank gets which episodes: training in an endless shuffle, evaluation each exactly once."""

from collections.abc import Iterator

import numpy as np
import torch.distributed
from torch.utils.data import Sampler


def ranks() -> tuple[int, int]:
    """(rank, number of ranks) of this process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class ShuffledDistributedSampler(Sampler[tuple[int, int]]):
    """(epoch, item) in an order that depends on (seed, epoch) alone; ranks take turns, the last round is filled up from
    the start so that all ranks make equally many steps. Lightning calls `set_epoch`."""

    def __init__(self, length: int, seed: int):
        self.length = length
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // ranks()[1])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rank, world = ranks()
        order = np.random.RandomState([self.seed, 0, self.epoch]).permutation(self.length)
        filled = np.resize(order, len(self) * world)
        return ((self.epoch, int(i)) for i in filled[rank::world])


class ContiguousDistributedSampler(Sampler[int]):
    """Each item exactly once over all ranks: rank r takes a contiguous share, without padding."""

    def __init__(self, length: int):
        self.length = length

    def _share(self) -> range:
        rank, world = ranks()
        return range(self.length * rank // world, self.length * (rank + 1) // world)

    def __len__(self) -> int:
        return len(self._share())

    def __iter__(self) -> Iterator[int]:
        return iter(self._share())
