"""Draw curves of score, time and memory by a number of `axes`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fsbench.errors import SettingsError
from fsbench.files import replacing
from fsbench.files.figures import STAMPS
from fsbench.tables.compare_layout import PLOTS
from fsbench.tables.layout import shorten
from fsbench.tables.sweep.axes import WORDS
from fsbench.tables.sweep.curves import CurvePoint, CurveTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7000", "#7f7f7f")
"""Colors that the color-blind can tell apart; each also has a marker of its own."""
MARKERS = "os^Dv<>P"
DODGE = 1.03
"""Factor between the places of two methods at one number, so that their intervals do not lie on each other."""
HEADROOM = 1.08
"""Height of the axis of a cost, as a multiple of the largest."""
COSTS = {"seconds": "seconds of an episode", "peak_mib": "peak memory in MiB"}
HOLLOW = "hollow: beyond the authors' rule for K"


def panels(table: CurveTable) -> list[str]:
    """List what is drawn of a table: its headlines and known costs."""
    points = [point for curve in table.curves for point in curve.points]
    return [*table.headlines, *(cost for cost in COSTS if any(getattr(point, cost) is not None for point in points))]


def plot_panel(axis: "Axes", table: CurveTable, panel: str, legend: bool = True) -> None:
    """Draw one of `panels`, a line per method, scores with their intervals.

    Hollow markers are beyond the authors' rule for this number of shots.
    """
    short = shorten([curve.method for curve in table.curves], (24, 34))
    for number, curve in enumerate(table.curves):
        color, marker, label = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)], short[curve.method]
        if panel in COSTS:
            points = [point for point in curve.points if getattr(point, panel) is not None]
            places, values = [point.number for point in points], [getattr(point, panel) for point in points]
            axis.plot(places, values, markersize=5, label=label, color=color, marker=marker)
            _hollow(axis, points, places, values, color, marker)
            continue
        points = [point for point in curve.points if panel in point.scores]
        scores = [point.scores[panel] for point in points]
        ends = [[max(s.value - s.low, 0) for s in scores], [max(s.high - s.value, 0) for s in scores]]
        places = [point.number * DODGE ** (number - (len(table.curves) - 1) / 2) for point in points]
        values = [s.value for s in scores]
        axis.errorbar(places, values, ends, capsize=2, markersize=5, label=label, color=color, marker=marker)
        _hollow(axis, points, places, values, color, marker)
    if any(point.beyond for curve in table.curves for point in curve.points):
        axis.plot([], [], "o", markersize=5, color="#7f7f7f", markerfacecolor="white", label=HOLLOW)
    axis.set_xscale("log")
    axis.set_xticks(table.numbers, [f"{number:g}" for number in table.numbers])
    axis.minorticks_off()
    axis.set_xlabel(WORDS[table.axis].label)
    axis.set_ylabel(COSTS.get(panel, panel))
    if panel in COSTS:
        values = [getattr(point, panel) for curve in table.curves for point in curve.points]
        axis.set_ylim(0, HEADROOM * max(value for value in values if value is not None))  # equal ones: not at the edge
    if legend:
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


def save_plot(path: Path, tables: Sequence[CurveTable], caption: str = "") -> None:
    """Write the figure of all tables, one below the other; `path` ends in .png, .svg or .pdf.

    Args:
        path: of the file.
        tables: the curves.
        caption: a line below them.

    Raises:
        SettingsError: it ends in something else.
    """
    if path.suffix not in PLOTS:
        raise SettingsError(f"--plot is {path}, expected a name that ends in {', '.join(PLOTS)}")
    # slow to import
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    widest = max(len(panels(table)) for table in tables)
    figure = Figure((max(3.4 * widest, 7.6), 3.6 * len(tables)), layout="constrained")
    parts = figure.subfigures(len(tables), 1, squeeze=False)
    for part, table in zip(parts.flat, tables, strict=True):
        part.suptitle(table.title, fontsize="small")
        axes = part.subplots(1, len(panels(table)), squeeze=False)
        for axis, panel in zip(axes.flat, panels(table), strict=True):
            plot_panel(axis, table, panel, legend=False)
            axis.grid(color="#888888", alpha=0.25)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        part.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    if caption:
        figure.supxlabel(caption, fontsize="small", parse_math=False)
    with replacing(path) as temporary, rc_context({"svg.hashsalt": "fsbench"}):  # the same file from the same runs
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=cast(Any, STAMPS[path.suffix]))
