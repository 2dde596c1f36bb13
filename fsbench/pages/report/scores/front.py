"""A study on the report's first page: its best methods in the first metric, fold by fold, and an axis for bars."""

from dataclasses import dataclass, replace
from math import ceil, floor, log10

from fsbench.pages.report.collect import Study, shown_fold
from fsbench.pages.report.scores.heat import has_thin_lines
from fsbench.pages.report.scores.leaderboard import build_leaderboard
from fsbench.results.table import Column, Line
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.columns import card_notes, fold_signs, method_folds
from fsbench.scores.estimate import Estimate
from fsbench.scores.trainings import Reach

MOST = 8
"""Number of methods that the first page has of a study."""


@dataclass(frozen=True)
class FrontTable:
    """Table of a study (runs on one test) for a report's first page.

    Attributes:
        columns: Score columns: the folds of the first metric, and their mean.
        lines: Lines of the best methods, then of the best trivial prediction without a model: name, then a cell for
            each of `columns`.
        bars: For each line the interval to draw beside it; None if the line has no interval.
        axis: Ticks of the axis below the bars, from the lowest to the highest end of an interval; empty if fewer than
            two lines have intervals.
        legend: Sentences that explain headings such as 5⁰ and signs such as †.
        part: The fold whose intervals are drawn: a number, "mean" or "all".
        has_trainings: Whether a method has several trainings (seeds).
        has_thin_lines: Whether a bar has two intervals: one for other trainings, and one for these trainings alone.
        methods: Number of lines about methods.
        folds: Number of folds for which methods have scores.
    """

    columns: list[Column]
    lines: list[Line]
    bars: list[Estimate | None]
    axis: list[float]
    legend: list[str]
    part: str
    has_trainings: bool
    has_thin_lines: bool
    methods: int
    folds: int


def front_table(study: Study) -> FrontTable:
    """Build the table of a study (runs on one test) for a report's first page."""
    board = build_leaderboard(study, None)
    places = [i for i, column in enumerate(board.table.columns) if column.metric == study.block.metrics[0]]
    columns = [board.table.columns[i] for i in places]
    methods = board.lines("method")[:MOST]
    shown = [*methods, *board.lines("best answer")]
    lines = [replace(line, cells=[line.cells[i] for i in (0, *places)]) for line in shown]
    drawn = 1 + [column.part for column in columns].index(shown_fold(study.block))
    bars: list[Estimate | None] = [line.cells[drawn].estimate for line in lines[: len(methods)]]
    known = [bar for bar in bars if bar and bar.has_interval]
    axis = _ticks(min(bar.low for bar in known), max(bar.high for bar in known)) if len(known) > 1 else []
    bars += [None] * (len(lines) - len(bars))
    return FrontTable(
        columns,
        lines,
        bars,
        axis,
        legend(study.block),
        shown_fold(study.block),
        Reach.OTHER in study.block.reaches.values(),
        bool(axis) and has_thin_lines(study, [study.block.metrics[0]]),
        len(methods),
        len(method_folds(study.block)),
    )


def legend(block: Block) -> list[str]:
    """Return sentences that explain column headings such as 5⁰ and signs of training conditions such as †."""
    return [*fold_legend(block), *mark_legend(block)]


def fold_legend(block: Block) -> list[str]:
    """Return sentences that explain column headings such as 5⁰."""
    return [f"{words}." for words in ["; ".join(dict.fromkeys(fold_signs(block).values()))] if words]


def mark_legend(block: Block) -> list[str]:
    """Return sentences that explain signs of training conditions such as †."""
    return [f"{words}." for words in card_notes(block)]


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers, three to twelve of them, the first at most `low` and the last at least `high`."""
    step = 10.0 ** floor(log10(max(high - low, 1e-3)))
    first, last = floor(low / step), ceil(high / step)
    return [n * step for n in range(first, max(last, first + 1) + 1)]
