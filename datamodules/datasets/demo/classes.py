"""Classes of the demo: a rule from a class number to a shape, a texture and a loose palette."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from fsbench.datamodules.datasets.demo.patterns import PATTERNS
from fsbench.datamodules.datasets.demo.shapes import SHAPES

DEMO_CLASSES, FOLD = 20, 5
"""Number of classes of the demo, numbered from 1, and of a fold."""
PRETRAIN_START = 101
"""First class number of the backbone's pre-training."""

# n is shape n mod 12 with texture n mod 10. Neighbours in the chain share one of the two, so that it takes both to tell
# the five classes of a fold apart.
_CHAIN = (8, 18, 6, 16, 4, 14, 2, 12, 0, 10, 9, 19, 7, 17, 5, 15, 3, 13, 1, 11)
_HUE_STEPS = (0.0, 0.12, 0.33, 0.5)


@dataclass(frozen=True)
class ObjectClass:
    """Properties that the instances of a class share.

    Attributes:
        number: the class number, from 1.
        shape: name of the outline, a key of `SHAPES`.
        pattern: name of the texture, a key of `PATTERNS`.
        periods: periods of the texture per radius.
        hue: hue of the first color in [0, 1); single objects differ widely from it.
        hue_step: distance to the second color's hue.
        dark_first: whether the first color is the darker one.
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
    """Return the (shape, pattern) pairs of the demo classes in order, and all others in a seeded order."""
    shapes, patterns = list(SHAPES), list(PATTERNS)
    demo = [(shapes[n % len(shapes)], patterns[n % len(patterns)]) for n in _CHAIN]
    others = [pair for pair in ((s, p) for s in shapes for p in patterns) if pair not in demo]
    order = np.random.RandomState(2024).permutation(len(others))
    return demo, [others[i] for i in order]


@cache
def object_class(number: int) -> ObjectClass:
    """Return the properties of the demo's object class with this number, from 1.

    Classes 1 to 20 are the demo's; classes from 21 on never share both shape and texture with a class of the demo.
    Their 100 combinations of shape and texture repeat every 100 numbers, with another palette and texture scale.
    """
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
