"""Division of episodes over processes: in training by steps in a new order each epoch, in a test each once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.distributed
from torch.utils.data import DistributedSampler, Sampler

from fsbench.base.errors import SettingsError
from fsbench.datamodules.loading.step_division import StepDivision


def ranks() -> tuple[int, int]:
    """Return this process's rank and the number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class TrainingBatches(Sampler[list[tuple[int, int]]]):
    """Batch sampler of this process's micro-batches of (epoch, item) pairs, epoch after epoch.

    The order of the items depends on (seed, epoch) alone. For each step the next `batch_size` items are dealt to the
    step's micro-batches in turn, and the micro-batches to the processes in turn. So the episodes of a step are the same
    for any number of processes. All processes make equally many micro-batches.

    Args:
        length: number of items of an epoch.
        seed: the seed of the items' order.
        division: how a step is divided over processes and micro-batches.
        fill_to: repeat items from the start of an epoch until their number is a multiple of this.
        drop_last: whether the incomplete last step of an epoch is left out.
        shuffled: False takes the items as they are numbered.

    Raises:
        SettingsError: `drop_last` leaves no step, as there are fewer items than `batch_size`.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        division: StepDivision,
        fill_to: int = 1,
        drop_last: bool = False,
        shuffled: bool = True,
    ):
        self.length, self.seed, self.division, self.shuffled = length, seed, division, shuffled
        filled = -(-length // fill_to) * fill_to
        self.steps, rest = divmod(filled, division.batch_size)
        if drop_last and not self.steps:
            raise SettingsError(
                f"there are {filled} training items, fewer than the {division.batch_size} of a step (batch_size), and "
                "drop_last leaves an incomplete step out; give a smaller batch_size or drop_last: false"
            )
        self.filled = filled - rest if drop_last else filled
        self.rest = 0 if drop_last else rest
        self.epoch = 0

    @property
    def sampler(self) -> "TrainingBatches":
        """This object itself: Lightning calls `set_epoch` on the `sampler` of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        last = -(-min(self.rest, self.division.groups) // self.division.processes)  # micro-batches of the last step
        return self.steps * self.division.accumulation + last

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.arange(self.length)
        if self.shuffled:
            order = np.random.RandomState([self.seed, 0, self.epoch]).permutation(self.length)
        items = [(self.epoch, int(item)) for item in np.resize(order, self.filled)]
        for number in range(len(self)):
            step, group = self._place(number)
            start = step * self.division.batch_size
            episodes = items[start : start + self.division.batch_size]
            # a process without an episode left in the last step takes its first one, whose loss weighs nothing
            yield episodes[group :: self.division.groups] or episodes[:1]

    def loss_weight(self, number: int) -> float:
        """Return the factor of the loss of this process's micro-batch `number` of the epoch.

        The factor is 1 except in an incomplete last step. There it makes the sum of the step's losses, divided by the
        number of micro-batches of a complete step, the mean over the step's episodes.
        """
        step, group = self._place(number)
        if step < self.steps:
            return 1.0
        episodes = len(range(group, self.rest, self.division.groups))
        return episodes * self.division.groups / self.rest

    def _place(self, number: int) -> tuple[int, int]:
        """Return the step of this process's micro-batch `number`, and its place among the step's micro-batches."""
        step, turn = divmod(number, self.division.accumulation)
        return step, ranks()[0] + turn * self.division.processes


class ContiguousDistributedSampler(DistributedSampler[int]):
    """Sampler that gives each process a contiguous share of the items, each item once.

    It is a subclass of PyTorch's distributed sampler, which Lightning's Trainer does not replace.
    """

    def __init__(self, length: int):
        rank, world = ranks()
        items: Any = range(length)  # only their number is asked for
        super().__init__(items, num_replicas=world, rank=rank, shuffle=False)
        self.length = length

    @property
    def share(self) -> range:
        """Numbers of the items of this process."""
        rank, world = ranks()
        return range(self.length * rank // world, self.length * (rank + 1) // world)

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[int]:
        return iter(self.share)
