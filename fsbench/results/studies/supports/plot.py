"""Draw the methods of one test: scores by draw; or worst and best draw of the supports, and parts of the variance."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from fsbench.results.rows.row import MEAN
from fsbench.results.sheets.cells import CONDITIONAL
from fsbench.results.sheets.drawing import draw_interval, legend_above, name_rows, shared_fold_words
from fsbench.results.studies.analysis import Paint
from fsbench.results.studies.supports.sensitivity import SensitivityTable, SupportSensitivity
from fsbench.scores.support_variance import COMPONENTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"query": "#0072b2", "support": "#d55e00", "interaction": "#cc79a7"}
"""Colors of the parts, which the color-blind can tell apart."""


def panels(table: SensitivityTable) -> dict[str, Paint]:
    """Return {name: function that draws on axes} for the panels of a table's plot."""
    if not table.lines:
        return {"supports": partial(plot_draws, table=table)}
    painters = {"supports": plot_choices, "supports-parts": plot_parts}
    return {name: partial(paint, lines=table.lines) for name, paint in painters.items()}


def plot_draws(axis: "Axes", table: SensitivityTable) -> None:
    """Draw the main score of every draw of a test, on the mean over folds or on each fold of a method without it."""
    name_rows(axis, table.methods)
    means = {row.method for row in table.draws if row.fold == MEAN}
    for row in table.draws:
        is_shown = row.metric == table.metrics[0] and (row.fold == MEAN or row.method not in means)
        if is_shown and row.part.split()[0] not in ("mean", "sd"):
            axis.plot(row.estimate.value, table.methods.index(row.method), "o", color="#0072b2", label="a draw")
    axis.set_xlabel(table.metrics[0])
    legend_above(axis, 1)


def plot_choices(axis: "Axes", lines: Sequence[SupportSensitivity]) -> None:
    """Draw the score with each query's worst, official and best draw of supports."""
    name_rows(axis, [line.method for line in lines])
    for row, line in enumerate(lines):
        worst, best = line.scores["worst draw"], line.scores["best draw"]
        axis.plot([worst.value, best.value], [row, row], color="#888888", linewidth=2, zorder=1)
        for interval, marker, color, label in (
            (worst, "v", "#d55e00", f"worst draw of every query{CONDITIONAL}"),
            (line.scores["official draw"], "o", "#0072b2", "draw 0, the official one"),
            (best, "^", "#009e73", f"best draw of every query{CONDITIONAL}"),
        ):
            draw_interval(axis, row, interval, marker, color, label)
    words = [lines[0].metric, _folds(lines), "95 % intervals"]
    axis.set_xlabel(f"{', '.join(filter(None, words))}; {CONDITIONAL} of these supports")
    legend_above(axis, 1)


def plot_parts(axis: "Axes", lines: Sequence[SupportSensitivity]) -> None:
    """Draw the shares of query, support and interaction in the variance; empty if they cannot be separated."""
    name_rows(axis, [line.method for line in lines])
    for row, line in enumerate(lines):
        shares = {} if line.parts is None else line.parts.shares
        clipped = {name: 100 * min(max(shares[name].value, 0.0), 1.0) for name in COMPONENTS if name in shares}
        start = 0.0
        for name, share in clipped.items():
            axis.barh(row, share, 0.6, start, color=COLORS[name], label=name)
            if share >= 12:
                axis.annotate(f"{share:.0f}", (start + share / 2, row), ha="center", va="center", color="white")
            start += share
    axis.set_xlim(0, 100)
    axis.set_xlabel(", ".join(filter(None, ("share of the variance in %", _folds(lines)))))
    legend_above(axis, len(COMPONENTS))


def _folds(lines: Sequence[SupportSensitivity]) -> str:
    return shared_fold_words((line.folds for line in lines), "folds as listed")
