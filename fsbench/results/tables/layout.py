"""Sheets, which every table is laid out as before it is written, and how names and scores stand in them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fsbench.protocols.registry import metric_named
from fsbench.scores.bootstrap import LEVEL, Interval

Grid = list[list[str]]

INTERVAL_NOTE = "[low, high]: 95 % interval, {}; scores in percent"


@dataclass(frozen=True)
class Style:
    """How a grid is written.

    Attributes:
        words: number of columns, from the left, that hold words; numbers follow.
        bold: (row, column) of cells that are written bold where a format can.
    """

    words: int = 2
    bold: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Sheet:
    """A titled list of (caption, grid), and notes. A grid's first row is its head.

    `styles` holds the styles of parts, by their numbers from 0, that are not of the usual one.
    """

    title: str
    parts: list[tuple[str, Grid]]
    notes: list[str]
    styles: Mapping[int, Style] = field(default_factory=dict)

    def style(self, number: int) -> Style:
        """Return the style of the part of that number."""
        return self.styles.get(number, Style())


def shorten(names: Iterable[str], widths: Sequence[int] = (34, 46, 58)) -> dict[str, str]:
    """Shorten names to what there is room for: name -> its ends, since variants differ there.

    The first of `widths` is taken at which no two short names are the same; where there is none, the same ones are
    numbered.
    """
    names = list(dict.fromkeys(names))
    for width in widths:
        short = {name: _ends(name, width) for name in names}
        if len(set(short.values())) == len(names):
            return short
    room = widths[-1] - len(f"{len(names)}: ")
    used = list(short.values())
    return {
        name: f"{number}: {_ends(name, room)}" if used.count(short[name]) > 1 else short[name]
        for number, name in enumerate(names, 1)
    }


def _ends(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: (width - 1) // 2]}…{name[-(width // 2) :]}"


def wrap_name(name: str, fits: Callable[[str], bool]) -> list[str]:
    """Break a name into lines, after spaces, "_" and "/" where that is enough, so that it is whole where it stands.

    Args:
        name: of a method, with its settings, or other words.
        fits: whether there is room for a line.

    >>> wrap_name("prototype_demo (support_annotation box)", lambda line: len(line) <= 20)
    ['prototype_demo', '(support_annotation', 'box)']
    """
    lines, line = [], ""
    for part in re.findall(r"[^\s_/]*[\s_/]*", name):
        if line and not fits((line + part).rstrip()):
            lines.append(line.rstrip())
            line = ""
        line += part
        while len(line.rstrip()) > 1 and not fits(line.rstrip()):
            cut = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or fits(line[:n]))
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line.rstrip()]


def probability(p: float) -> str:
    """Write a p-value."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def corrected_p(p: float) -> str:
    """Write a corrected p-value, with a star below 0.05 and room for one else."""
    return probability(p) + ("*" if p < 1 - LEVEL else " ")


def figure(interval: Interval | None, metric: str) -> str:
    """Write a score with its interval; ROM and RUM, which end at 1, have a third digit."""
    if interval is None:
        return "–"
    n = metric_named(metric).digits()
    return f"{interval.value:.{n}f} [{interval.low:.{n}f}, {interval.high:.{n}f}]"


def places(
    cells: Sequence[str], values: Sequence[float | None], groups: Sequence[int], sign: int
) -> list[Literal["best", "second", ""]]:
    """Name the best and the second figure of a column, as far as they are printed, among those of the same group.

    Args:
        cells: figures as they are printed; what is printed alike has the same place.
        values: the same as numbers, None where there is none.
        groups: of the rows; rows of different groups are not ranked together, and one alone has no place.
        sign: 1 where more is better, -1 where less is.
    """
    named: list[Literal["best", "second", ""]] = [""] * len(cells)
    for group in dict.fromkeys(groups):
        known = {i: sign * value for i, value in enumerate(values) if value is not None and groups[i] == group}
        printed = list(dict.fromkeys(cells[i] for i in sorted(known, key=lambda i: -known[i])))
        for i in known if len(known) > 1 else ():
            named[i] = "best" if cells[i] == printed[0] else "second" if cells[i] == printed[1] else ""
    return named
