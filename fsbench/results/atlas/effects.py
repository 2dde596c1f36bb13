"""Measured effects of conditions: how far each moved the same methods on the same predictions.

They follow from the tables in `benchmarks/effects`, which docs/guides/how-much-is-protocol.md shows.
"""

from dataclasses import dataclass

from fsbench.base.paths import BENCHMARKS
from fsbench.protocols.programs import read_rows

EFFECTS = BENCHMARKS / "effects"


@dataclass(frozen=True)
class Effect:
    """Measured effect of changing one test condition on mIoU, over several methods and tests.

    Attributes:
        condition: key of the condition.
        what: the change that was measured, in words, such as one value of the condition instead of another.
        low, high: least and largest change of the mIoU in points.
        rows: number of (method, test) pairs that were measured.
        origin: the data on which the change was measured, in words.
        together: keys of other conditions that changed at the same time; empty if there were none.
    """

    condition: str
    what: str
    low: float
    high: float
    rows: int
    origin: str
    together: tuple[str, ...] = ()


def read_effects() -> list[Effect]:
    """Return the measured effects of changing test conditions, one for each condition that a change is of."""
    found = []
    columns = ("conditions", "what", "low", "high", "rows", "origin")
    for _, row in read_rows(EFFECTS / "effects.csv", columns):
        changed = row["conditions"].split("; ")
        number = float(row["low"]), float(row["high"]), int(row["rows"])
        for key in changed:
            together = tuple(other for other in changed if other != key)
            found.append(Effect(key, row["what"], *number, row["origin"], together))
    return found
