"""Blocks whose random numbers follow from one number, and after which the generators are as they were before."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seed_torch(number: int) -> Iterator[None]:
    """Within the block, seed torch's generators on the CPU and, if CUDA is in use, on its GPUs.

    A GPU that is first used within the block is not seeded, nor is it seeded for later. Generators of other devices
    (MPS, XPU) are left alone: blocks whose numbers are drawn there are not reproducible.

    The CPU's generator takes the lowest 32 bits of a number and leaves the others out. So where many numbers are drawn
    from hashes, a few blocks begin alike: one pair among 10,000 with a chance of 1 %.

    Args:
        number: seed, of which CPUs read 32 bits and GPUs 64.
    """
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(gpus, device_type="cuda"):
        torch.default_generator.manual_seed(number)  # torch.manual_seed would also seed what no fork gives back
        if gpus:
            torch.cuda.manual_seed_all(number)
        yield
