"""The rule that turns a class number into a kind of object: a shape, a texture and a loose palette."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from fsbench.demo.patterns import PATTERNS
from fsbench.demo.shapes import SHAPES

DEMO_CLASSES = 20
FOLD = 5
PRETRAIN_START = 101

# n stands for shape n mod 12 with texture n mod 10. Neighbours in the chain share one of the two, so that telling the
# five classes of a fold apart takes both.
_CHAIN = (8, 18, 6, 16, 4, 14, 2, 12, 0, 10, 9, 19, 7, 17, 5, 15, 3, 13, 1, 11)
_HUE_STEPS = (0.0, 0.12, 0.33, 0.5)


@dataclass(frozen=True)
class ObjectClass:
    """What the instances of a class have in common.

    `periods` of the texture per radius; `hue` in [0, 1) is where the first colour's hue lies, give or take a lot;
    `hue_step` leads to the second colour's hue; `dark_first` says which of the two is the darker.
    """

    number: int
    shape: str
    pattern: str
    periods: float
    hue: float
    hue_step: float
    dark_first: bool

    @property
    def name(self) -> str:
        return f"{self.pattern} {self.shape}"


@cache
def _combinations() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(shape, pattern) pairs of the demo classes in order, and all others in a seeded order."""
    shapes, patterns = list(SHAPES), list(PATTERNS)
    demo = [(shapes[n % len(shapes)], patterns[n % len(patterns)]) for n in _CHAIN]
    others = [pair for pair in ((s, p) for s in shapes for p in patterns) if pair not in demo]
    order = np.random.RandomState(2024).permutation(len(others))
    return demo, [others[i] for i in order]


@cache
def object_class(number: int) -> ObjectClass:
    """Class `number` >= 1. 1..20 are the demo's; the numbers above never share both shape and texture with one of them.

    The 100 other combinations repeat every 100 numbers with another palette and texture scale.
    """
    if number < 1:
        raise ValueError(f"class numbers start at 1, found {number}")
    demo, others = _combinations()
    shape, pattern = demo[number - 1] if number <= DEMO_CLASSES else others[(number - PRETRAIN_START) % len(others)]
    rng = np.random.RandomState([7, number])
    return ObjectClass(
        number=number,
        shape=shape,
        pattern=pattern,
        periods=float(rng.uniform(1.4, 2.1)),
        hue=float(rng.uniform()),
        hue_step=_HUE_STEPS[rng.randint(len(_HUE_STEPS))],
        dark_first=bool(rng.randint(2)),
    )
