"""Draw curves of score, time and memory by a number of `axes`."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from fsbench.results.costs import PLOTTED
from fsbench.results.sheets.drawing import COLORS, MARKERS, shared_fold_words, whiskers, whole_names
from fsbench.results.studies.analysis import Paint
from fsbench.results.studies.sweep.axes import WORDS
from fsbench.results.studies.sweep.curves import COSTS, CurvePoint, CurveTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DODGE = 1.03
"""Factor between the places of two methods at one number, so that their intervals do not lie on each other."""
HEADROOM = 1.08
"""Height of the axis of a cost, as a multiple of the largest."""
LEGEND_NAME = 24
"""Letters in a line of a curve's name."""
HOLLOW = "hollow: beyond the authors' rule for K"
CROSSED = "crossed out: too few images for an interval"


def panels(table: CurveTable) -> dict[str, Paint]:
    """Return {name: function that draws on axes} for a table's plot: a panel for each main metric and known cost."""
    costs = [cost for cost in COSTS if any(cost in point.costs for point in table.points)]
    return {name: partial(plot_panel, table=table, panel=name) for name in [*table.headlines, *costs]}


def plot_panel(axis: "Axes", table: CurveTable, panel: str) -> None:
    """Draw one panel of a plot: a line per method, scores with their intervals.

    Markers are hollow where the authors' rule does not cover the number of shots. A score without an interval is
    crossed out, so that the missing bar is not taken for a short one.
    """
    names = whole_names([curve.method for curve in table.curves], LEGEND_NAME)
    bare: list[tuple[float, float]] = []
    for number, curve in enumerate(table.curves):
        color, marker, label = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)], names[curve.method]
        if panel in COSTS:
            points = [point for point in curve.points if panel in point.costs]
            places, values = [point.number for point in points], [point.costs[panel] for point in points]
            axis.plot(places, values, markersize=5, label=label, color=color, marker=marker)
            _hollow(axis, points, places, values, color, marker)
            continue
        points = [point for point in curve.points if panel in point.scores]
        scores = [point.scores[panel].estimate for point in points]
        places = [point.number * DODGE ** (number - (len(table.curves) - 1) / 2) for point in points]
        values = [s.value for s in scores]
        axis.errorbar(
            places, values, whiskers(scores), capsize=2, markersize=5, label=label, color=color, marker=marker
        )
        _hollow(axis, points, places, values, color, marker)
        bare += [(x, s.value) for x, s in zip(places, scores, strict=True) if not s.high > s.low]  # NaN, too
    if bare:
        axis.plot(*zip(*bare, strict=True), "x", markersize=9, color="black", zorder=4, label=CROSSED)
    if any(point.beyond for point in table.points):
        axis.plot([], [], "o", markersize=5, color="#7f7f7f", markerfacecolor="white", label=HOLLOW)
    axis.set_xscale("log")
    axis.set_xticks(table.numbers, [f"{number:g}" for number in table.numbers])
    axis.minorticks_off()
    folds = shared_fold_words((point.folds for point in table.points), "points of several folds")
    axis.set_xlabel(", ".join(filter(None, (WORDS[table.axis].label, folds))))
    axis.set_ylabel(PLOTTED[panel].name if panel in COSTS else panel)
    if panel in COSTS:  # equal ones: not at the edge
        axis.set_ylim(0, HEADROOM * max(point.costs[panel] for point in table.points if panel in point.costs))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize="small", ncols=2)


def _hollow(
    axis: "Axes",
    points: Sequence[CurvePoint],
    places: Sequence[float],
    values: Sequence[float],
    color: str,
    marker: str,
) -> None:
    """Draw the markers of points beyond the authors' rule over those of a line, white within."""
    beyond = [(x, y) for point, x, y in zip(points, places, values, strict=True) if point.beyond]
    if beyond:
        x, y = zip(*beyond, strict=True)
        axis.plot(x, y, marker, markersize=5, color=color, markerfacecolor="white", zorder=3)
