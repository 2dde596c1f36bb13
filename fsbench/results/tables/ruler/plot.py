"""Draw the scores of a method by test, and what one word of a test moves."""

from functools import partial
from typing import TYPE_CHECKING

from fsbench.results.tables.analysis import Paint
from fsbench.results.tables.drawing import COLORS, legend_above, whiskers
from fsbench.results.tables.ruler.tests import RulerTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def panels(table: RulerTable) -> dict[str, Paint]:
    """Return the panel of scores, and that of moves where there are any."""
    moves: dict[str, Paint] = {"moves": partial(plot_moves, table=table)} if table.moves else {}
    return {"scores": partial(plot_scores, table=table), **moves}


def plot_scores(axis: "Axes", table: RulerTable) -> None:
    """Draw the score of each test with its interval, and the published figures on it."""
    for place, line in enumerate(table.lines):
        color = COLORS[7] if line.spirit else COLORS[0]
        if line.score.has_interval:
            axis.errorbar(line.score.value, place, xerr=whiskers([line.score]), color=color, linewidth=1)
        axis.plot(line.score.value, place, "o", color=color, markersize=4)
        values = [one.value for one in line.printed]
        axis.plot(values, [place] * len(values), "|", color=COLORS[1], markersize=6)
    names = [line.test + " ~" * bool(line.spirit) for line in table.lines]
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_yticks(range(len(names)), names, fontsize="x-small")
    _name_colors(axis)
    metrics = dict.fromkeys(line.metric for line in table.lines)
    axis.set_xlabel(f"{' or '.join(metrics)} in percent, with 95 % intervals", fontsize="small")


def plot_moves(axis: "Axes", table: RulerTable) -> None:
    """Draw the difference of each pair of tests by the axes on which they differ; intervals where they are paired."""
    axes = list(dict.fromkeys(move.axes for move in table.moves))
    for move in table.moves:
        place, color = axes.index(move.axes), COLORS[0] if move.is_paired else COLORS[7]
        if move.difference.has_interval:
            axis.errorbar(
                move.difference.value, place, xerr=whiskers([move.difference]), color=color, linewidth=1, alpha=0.5
            )
        axis.plot(move.difference.value, place, "o", color=color, markersize=4)
    axis.axvline(0, color="#888888", linewidth=1, zorder=0)
    axis.set_ylim(len(axes) - 0.5, -0.5)
    axis.set_yticks(range(len(axes)), [",\n".join(one) for one in axes], fontsize="x-small")
    _name_colors(axis)
    axis.set_xlabel("points by one word changed, the others held", fontsize="small")


def _name_colors(axis: "Axes") -> None:
    """Give the axes the legend that both panels share."""
    for color, form, words in (
        (COLORS[0], "o", "this method"),
        (COLORS[7], "o", "in spirit; other episodes"),
        (COLORS[1], "|", "published"),
    ):
        axis.plot([], [], form, color=color, markersize=4, label=words)
    legend_above(axis, 3)
