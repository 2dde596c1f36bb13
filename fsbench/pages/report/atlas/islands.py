"""Draw the tests of a data set as islands: programs on one island share a test."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 860
"""Width of the figure in its own units, about pixels."""
LINE, LETTER, GAP = 17, 7.2, 14


@dataclass(frozen=True)
class Island:
    """Box in a figure of all published tests: one test, with the names of the programs that share it.

    Attributes:
        number: number of the test's group on the page; 0 if the test is not fully known, so that no other program can
            share it.
        names: names of the methods on this test.
        x, y, width, height: position and size of the box in the figure.
        kind: "shared" by several programs, "alone", or "unknown" if not all conditions of the test are known.
    """

    number: int
    names: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float
    kind: str


def place_islands(groups: Sequence[tuple[int, Sequence[str], str]]) -> tuple[list[Island], float]:
    """Place the boxes of published tests in rows, in the given order, from left to right.

    Args:
        groups: (number, method names, kind) of each test; kind is "shared", "alone" or "unknown".

    Returns:
        The boxes, and the height of the figure.
    """
    placed: list[Island] = []
    row: list[tuple[int, Sequence[str], str, float, float]] = []
    x, y = 0.0, 0.0

    def finish() -> float:
        height = max((each[4] for each in row), default=0.0)
        spare, left = (WIDTH - x + GAP) / (len(row) + 1), 0.0
        for number, names, kind, width, own in row:
            left += min(spare, 30)
            placed.append(Island(number, tuple(names), left, y + (height - own) / 2, width, own, kind))
            left += width + GAP
        return height

    for number, names, kind in groups:
        shared = kind == "shared"
        width = max(map(len, names)) * LETTER * (1.35 if shared else 1.1) + (46 if shared else 22)
        height = len(names) * LINE * (1.3 if shared else 1) + (44 if shared else 14)
        changes = bool(row) and (row[-1][2] == "shared") != shared
        if row and (x + width > WIDTH - 30 or changes):
            y += finish() + GAP
            row, x = [], 0.0
        row.append((number, names, kind, width, height))
        x += width + GAP
    return placed, y + finish() + 4 if row else y
