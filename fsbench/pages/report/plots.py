"""Plots of a study as SVG: text stays text, black follows the color of the page around it."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fsbench.pages.report.costs import RunCost, pareto_front
from fsbench.pages.report.curves import Curve
from fsbench.pages.report.spread import SizeScores
from fsbench.protocols.reading import metric_named
from fsbench.results.costs import PLOTTED
from fsbench.results.rows.parts import SIZES
from fsbench.results.sheets.drawing import COLORS, MARKERS, whole_names
from fsbench.scores.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#010203"
"""Placeholder for the color of the page's text."""
DIVERGING = (
    "#9c4a00", "#cc6a12", "#eb9a4d", "#f8c48d", "#fce5cd", "#f4f4f4",
    "#d8e9f5", "#acd0ea", "#6fafdb", "#2f83bd", "#0b5394",
)  # fmt: skip
"""Colors of differences from worse to better, which the color-blind can tell apart; `style.css` has the same."""
NAMED = 16
"""Number of methods that a plot names, the best ones."""


def draw_svg(paint: "Callable[[Axes], None]", salt: str, width: float = 5.2, height: float = 3.6) -> str:
    """Draw a plot as an SVG and return its text.

    Args:
        paint: Takes matplotlib axes and draws on them.
        salt: Text that makes the ids in this SVG unique on its page.
        width: Width of the plot in inches.
        height: Height of the plot in inches.
    """
    from matplotlib import rc_context  # slow to import
    from matplotlib.figure import Figure

    parts = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style = dict.fromkeys(parts, INK) | {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 11}
    style |= {"axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False}
    out = io.StringIO()
    with rc_context(cast(Any, style)):
        figure = Figure((width, height), layout="constrained")
        figure.patch.set_alpha(0)
        axis = figure.subplots()
        axis.patch.set_alpha(0)
        axis.grid(color="#888888", alpha=0.25)
        paint(axis)
        figure.savefig(out, format="svg", metadata={"Date": None})
    return adapt_to_theme(out.getvalue())


def adapt_to_theme(svg: str) -> str:
    """Return an SVG without inline styles, whose lines and letters take the text color of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' style="([^"]*)"', lambda match: _attributes(match[1]), svg)
    return svg.replace(INK, "currentColor").replace("#000000", "currentColor")


def _attributes(style: str) -> str:
    """Turn CSS declarations into XML attributes."""
    pairs = [part.partition(":") for part in style.split(";") if ":" in part]
    attributes = []
    for name, _, value in pairs:
        name, value = name.strip(), value.strip()
        if name == "font":  # a shorthand has no attribute
            size = re.search(r"([\d.]+px)", value)
            attributes.append(f'font-size="{size[1] if size else "10px"}" font-family="sans-serif"')
        elif name == "font-family":
            attributes.append('font-family="sans-serif"')
        else:
            attributes.append(f'{name}="{value}"')
    return " " + " ".join(attributes)


def _look(number: int) -> dict[str, Any]:
    """Return color and marker of a method by its rank."""
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[(number + number // len(COLORS)) % len(MARKERS)]}


def cost_plot(costs: Sequence[RunCost], kind: str, metric: str, salt: str, *, has_front: bool = True) -> str:
    """Plot methods' scores against a cost, with the Pareto front, and return the SVG text.

    The front joins the methods that no other method beats in score without a higher cost.

    Args:
        costs: Score and costs of each method.
        kind: The cost: "trainable", "total", "seconds" or "memory".
        metric: Name of the score.
        salt: Text that makes the ids in this SVG unique on its page.
        has_front: Whether to draw the front; with few episodes it would follow from chance.
    """
    known = [cost for cost in costs if cost.values.get(kind) is not None]
    names = whole_names(cost.method for cost in known[:NAMED])
    from matplotlib.ticker import EngFormatter  # slow to import

    def paint(axis: "Axes") -> None:
        if has_front:
            sign = metric_named(metric).sign
            best = pareto_front([(cost.values[kind] or 0.0, sign * cost.score.value) for cost in known])
            steps = sorted((known[i].values[kind] or 0.0, known[i].score.value) for i in best)
            ends = zip(*steps, strict=True)
            axis.plot(*ends, color=INK, linewidth=1, linestyle="--", drawstyle="steps-post", alpha=0.6)
        for number, cost in enumerate(known):
            look = _look(number) | {"label": names.get(cost.method), "markersize": 6}
            _draw_score(axis, cost.values[kind] or 0.0, cost.score, look)
        axis.set_xlabel(PLOTTED[kind].name)
        axis.set_ylabel(metric)
        positive = [cost.values[kind] or 0.0 for cost in known]
        if min(positive) > 0 and max(positive) > 20 * min(positive):
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")  # its own are formulas, which names are not to be
            axis.xaxis.set_minor_formatter("")
        elif max(positive) >= 1e5:
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))  # 22.02M, where the usual one takes out a factor
        axis.margins(x=0.1)
        _name_below(axis)

    return draw_svg(paint, salt, height=3.6 + _legend_height(names))


def size_plot(sizes: SizeScores, metric: str, salt: str) -> str:
    """Plot the score in each range of object sizes with its interval, methods side by side; return the SVG text.

    Below a range stands the number of its query images. No line joins ranges, since each has other images. A score of
    too few images is left out, and a score that is 0 on every image has no interval.

    Args:
        sizes: {method: {range of object sizes: score}}.
        metric: Name of the score.
        salt: Text that makes the ids in this SVG unique on its page.
    """
    shown = [*sizes][:NAMED]
    step = 0.7 / max(len(shown), 1)

    def paint(axis: "Axes") -> None:
        images = dict.fromkeys(SIZES, 0)
        for number, label in enumerate(shown):
            look = _look(number) | {"label": names[label], "markersize": 5}
            for at, name in enumerate(SIZES):
                score = sizes[label].get(name)
                if score is not None:
                    images[name] = max(images[name], score.queries)
                    _draw_score(axis, at + (number - (len(shown) - 1) / 2) * step, score, look)
                    look.pop("label", None)
        axis.set_xticks(range(len(SIZES)), [f"{name} %\n{images[name] or 'too few'}\nimages" for name in SIZES])
        axis.set_xlim(-0.5, len(SIZES) - 0.5)
        axis.set_xlabel("object's share of the query image")
        axis.set_ylabel(metric)
        _name_below(axis)

    names = whole_names(shown)
    return draw_svg(paint, salt, height=4 + _legend_height(names))


def _draw_score(axis: "Axes", x: float, score: Estimate, look: Mapping[str, Any]) -> None:
    """Draw a score with its interval."""
    ends = [[max(score.value - score.low, 0)], [max(score.high - score.value, 0)]]
    axis.errorbar(x, score.value, ends, elinewidth=1, linestyle="", **look)


def _name_below(axis: "Axes") -> None:
    """Put the names in two columns below the axes: beside points they cover each other."""
    assert axis.figure is not None
    axis.figure.legend(loc="outside lower left", frameon=False, fontsize=10, ncols=2)


def _legend_height(names: Mapping[str, str]) -> float:
    """Return the height in inches of names in two columns, of which the first is filled first."""
    lines, half = [name.count("\n") + 1 for name in names.values()], ceil(len(names) / 2)
    return 0.075 * half + 0.15 * max(sum(lines[:half]), sum(lines[half:]))


def curve_plot(curves: Sequence[Curve], salt: str) -> str:
    """Plot validation scores by epoch, with one color for the folds of a method; return the SVG text."""

    def paint(axis: "Axes") -> None:
        labels = list(dict.fromkeys(curve.method for curve in curves))
        names = whole_names(labels)
        for number, label in enumerate(labels):
            for n, curve in enumerate(c for c in curves if c.method == label):
                look = _look(number)
                name = names[label] if n == 0 and number < NAMED else None
                axis.plot(curve.epochs, curve.values, label=name, linewidth=1.2, markersize=3.5, **look)
        axis.set_xlabel("epoch")
        axis.set_ylabel("validation mIoU")
        axis.legend(frameon=False, fontsize=10)

    return draw_svg(paint, salt)


def heat_plot(
    rows: Sequence[str], columns: Sequence[str], values: np.ndarray, scale: float | None, metric: str, salt: str
) -> str:
    """Draw a table of numbers as a heat map and return the SVG text; cells without a number stay empty.

    Args:
        rows: Names of the classes.
        columns: Labels of the methods; for differences, the first is the one that is subtracted.
        values: (rows, columns) scores or differences, NaN where there is none.
        scale: For differences, the number at either end of the color scale, whose middle is zero; None for scores,
            colored from the least to the greatest.
        metric: Name of the score.
        salt: Text that makes the ids in this SVG unique on its page.
    """
    digits = metric_named(metric).digits(1)
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if scale is None else (-scale, scale)
    names = list(whole_names(columns).values())
    from matplotlib.colors import LinearSegmentedColormap  # slow to import

    def paint(axis: "Axes") -> None:
        axis.grid(False)
        better_is_blue = LinearSegmentedColormap.from_list("differences", DIVERGING[:: metric_named(metric).sign])
        colors = "cividis" if scale is None else better_is_blue
        image = axis.imshow(values, cmap=colors, vmin=low, vmax=high, aspect="auto")
        axis.set_xticks(range(len(columns)), names, rotation=60, ha="right", fontsize=8)
        axis.set_yticks(range(len(rows)), rows, fontsize=8)
        for (y, x), value in np.ndenumerate(values):
            if not np.isnan(value):
                share = (min(max(value, low), high) - low) / ((high - low) or 1)
                dark = share < 0.5 if scale is None else abs(share - 0.5) > 0.35
                words = f"{value:.{digits}f}" if scale is None else f"{value:+.{digits}f}"
                ink = "#ffffff" if dark else "#111111"
                cell = axis.text(x, y, words, ha="center", va="center", fontsize=7, color=ink)
                cell.set_in_layout(False)  # it lies inside the axes, and measuring thousands of words takes seconds
        assert axis.figure is not None
        (label,) = whole_names([metric if scale is None else f"{metric} minus that of {columns[0]}"]).values()
        axis.figure.colorbar(image, ax=axis, fraction=0.03, pad=0.01, label=label)

    return draw_svg(paint, salt, min(4 + 0.5 * len(columns), 30), min(1.8 + 0.2 * len(rows), 30))
