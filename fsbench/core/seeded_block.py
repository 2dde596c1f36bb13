"""Blocks whose random numbers follow from one number, and after which the generators are as they were before."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seed_torch(number: int) -> Iterator[None]:
    """Within the block, seed torch's generators on the CPU and, if CUDA is in use, on its GPUs.

    A GPU that is first used within the block is seeded neither in the block nor after it. Generators of other devices
    (MPS, XPU) are left alone: blocks whose numbers are drawn there are not reproducible.

    The CPU's generator uses only the lowest 32 bits of `number`. If seeds are taken from hashes, two blocks may
    therefore draw the same numbers: among 10,000 seeds there is such a pair with a chance of 1 %.

    Args:
        number: the seed, of which the CPU reads 32 bits and GPUs read 64.
    """
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(gpus, device_type="cuda"):
        torch.default_generator.manual_seed(number)  # torch.manual_seed would also seed what no fork gives back
        if gpus:
            torch.cuda.manual_seed_all(number)
        yield
