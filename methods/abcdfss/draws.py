"""Views of images, masks and features, and the random numbers of the authors' program (abcdfss.md §3, §7).

A view is a sheared map; the blur and the colour jitter of the program change nothing and are left out. The program
draws the shears of every class and the first weights of every head from one stream. Here each place in it is reached
from the numbers that are drawn before, so that an episode's numbers follow from its own number, and from the class's
place, alone.

Shapes: V views, (h, w) any plane.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from fsbench.core.seeded_block import seed_torch
from fsbench.methods.abcdfss.head import AdaptedHead

LARGEST_SHEAR = 20
"""Degrees."""
STRIDE = 32
"""Number of turns after which a place in the stream is remembered."""


class Shear(NamedTuple):
    """Angles of a shear along x and y, in whole degrees."""

    x: int
    y: int


def source_cells(height: int, width: int, shear: Shear) -> tuple[Tensor, Tensor]:
    """Return for each cell of a sheared grid the flat index of its source cell, and whether there is such a cell.

    Both are (h·w,), int64 and bool; there is no source cell where it would lie outside of the grid.

    They are computed in float64, so that the nearest cell does not depend on device or type of the features.

    >>> source_cells(1, 3, Shear(0, 0))
    (tensor([0, 1, 2]), tensor([True, True, True]))
    """
    ta, tb = math.tan(math.radians(shear.x)), math.tan(math.radians(shear.y))
    v, u = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
    column = ((1 + ta * tb) * u + ta * v[:, None] + (width - 1) / 2).round().long()  # half to even
    row = (tb * u + v[:, None] + (height - 1) / 2).round().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return torch.where(inside, row * width + column, 0).flatten(), inside.flatten()


def sheared(x: Tensor, shear: Shear) -> Tensor:
    """Shear maps (..., h, w) by nearest neighbour; pixels from outside of the map are 0."""
    cells, inside = (part.to(x.device) for part in source_cells(x.shape[-2], x.shape[-1], shear))
    return (x.flatten(-2)[..., cells] * inside).view(x.shape)


def views(x: Tensor, shears: Sequence[Shear]) -> Tensor:
    """Return maps (..., h, w) sheared by each of the V shears, stacked to (V, ..., h, w)."""
    return torch.stack([sheared(x, shear) for shear in shears])


@lru_cache(maxsize=8)
def class_shears(classes: int, views: int, seed: int) -> tuple[tuple[Shear, ...], ...]:
    """Return the random shears of each class, in class order: `views` shears for each of `classes` classes.

    As in the authors' program, the shears are drawn after the numbers that initialise a ResNet-50, from the same stream
    of random numbers.
    """
    from torchvision.models import resnet50  # takes a second, which other methods are spared

    with seed_torch(seed):
        resnet50(weights=None)
        return tuple(tuple(_draw_shear() for _ in range(views)) for _ in range(classes))


def _draw_shear() -> Shear:
    torch.rand(3)  # of the colour jitter
    torch.randint(0, 1, (1,))  # angle
    angles = [int(torch.randint(-LARGEST_SHEAR, LARGEST_SHEAR + 1, (1,))) for _ in range(2)]
    torch.rand(1)  # scale
    return Shear(*angles)


class HeadDraws:
    """Random first weights of ABCDFSS's feature heads, in the order in which the authors' program draws them.

    A turn is one way (class) of one episode: first the random numbers of its sheared images are drawn; then, if heads
    are fitted to that way, the first weights of a set of heads, one head per feature level.

    Args:
        channels: number of channels of each feature level.
        width: number of output channels of a head.
        views: number of sheared copies of an image.
        seed: random seed.
    """

    def __init__(self, channels: Sequence[int], width: int, views: int, seed: int):
        self.channels, self.width, self.views, self.seed = tuple(channels), width, views, seed
        with torch.device("meta"):
            heads = [AdaptedHead(c, width) for c in self.channels]
        self.learned = sum(p.numel() for head in heads for p in head.parameters())
        """Number of values that one set of heads learns."""
        drawn = [p for head in heads for layer in (head.conv, head.linear) for p in layer.parameters()]
        self._drawn = sum(p.numel() for p in drawn)
        self._places: dict[tuple[int, int, int], Tensor] = {}  # shots, turns, sets: state of the generator

    def heads(self, turns: int, sets: int, shots: int) -> list[AdaptedHead]:
        """Return randomly initialised heads, one per feature level, on the CPU.

        Args:
            turns: number of ways, in all episodes, whose random numbers are drawn before.
            sets: number of these earlier ways for which a set of heads was drawn, from 0 to `turns`.
            shots: K, supports of each way.
        """
        with seed_torch(self.seed):
            torch.empty((), dtype=torch.int64).random_()  # of the loader's start
            along = turns if sets == turns else 0
            self._go_to(turns, along, shots)
            self._skip_sets(sets - along)
            self._draw_views(shots)
            return [AdaptedHead(c, self.width) for c in self.channels]

    def _go_to(self, turns: int, sets: int, shots: int) -> None:
        """Bring torch's generator behind so many turns that drew all of their sets, or none."""
        step = 1 if sets else 0
        known = max((t for k, t, s in self._places if k == shots and t <= turns and s == step * t), default=0)
        if known:
            torch.set_rng_state(self._places[shots, known, step * known])
        for turn in range(known + 1, turns + 1):
            self._draw_views(shots)
            self._skip_sets(step)
            if turn % STRIDE == 0:
                self._places[shots, turn, step * turn] = torch.get_rng_state()

    def _draw_views(self, shots: int) -> None:
        for _ in range((1 + shots) * self.views):
            torch.empty(1).uniform_()  # of the blur
            torch.randperm(4)  # order of the colour jitter

    def _skip_sets(self, sets: int) -> None:
        """Draw as many numbers as sets of heads have; how many follow, not which, is all that matters."""
        for _ in range(sets):
            torch.empty(self._drawn).uniform_()
