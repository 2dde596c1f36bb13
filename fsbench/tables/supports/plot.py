"""Draw worst, mean and best draw of the supports, and the parts of the variance, of the methods on one test."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fsbench.errors import SettingsError
from fsbench.files import replacing
from fsbench.files.figures import STAMPS
from fsbench.metrics.support_variance import COMPONENTS
from fsbench.tables.compare_layout import PLOTS
from fsbench.tables.layout import shorten
from fsbench.tables.supports.sensitivity import SensitivityTable, SupportSensitivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"query": "#0072b2", "support": "#d55e00", "interaction": "#cc79a7"}
"""Colors of the parts, which the color-blind can tell apart."""


def plot_choices(axis: "Axes", lines: Sequence[SupportSensitivity]) -> None:
    """Draw the score of the test with the worst, the official and the best draw of every query, the first on top."""
    _name_rows(axis, lines)
    for row, line in enumerate(lines):
        worst, best = line.scores["worst draw"], line.scores["best draw"]
        axis.plot([worst.value, best.value], [row, row], color="#888888", linewidth=2, zorder=1)
        for interval, marker, color, label in (
            (worst, "v", "#d55e00", "worst draw of every query"),
            (line.scores["official draw"], "o", "#0072b2", "draw 0, the official one"),
            (best, "^", "#009e73", "best draw of every query"),
        ):
            ends = [[max(interval.value - interval.low, 0)], [max(interval.high - interval.value, 0)]]
            axis.errorbar(
                interval.value, row, xerr=ends, fmt=marker, color=color, capsize=3, markersize=7,
                label=None if row else label,
            )  # fmt: skip
    axis.set_xlabel(f"{lines[0].metric}, 95 % intervals")
    _legend(axis, 1)


def plot_parts(axis: "Axes", lines: Sequence[SupportSensitivity]) -> None:
    """Draw the shares of query, support and interaction in the variance; empty where they cannot be told apart."""
    _name_rows(axis, lines)
    named: set[str] = set()
    for row, line in enumerate(lines):
        shares = {} if line.parts is None else line.parts.shares
        clipped = {name: 100 * min(max(shares[name].value, 0.0), 1.0) for name in COMPONENTS if name in shares}
        start = 0.0
        for name, share in clipped.items():
            axis.barh(row, share, 0.6, start, color=COLORS[name], label=None if name in named else name)
            if share >= 12:
                axis.annotate(f"{share:.0f}", (start + share / 2, row), ha="center", va="center", color="white")
            start += share
            named.add(name)
    axis.set_xlim(0, 100)
    axis.set_xlabel("share of the variance in %")
    _legend(axis, len(COMPONENTS))


def _name_rows(axis: "Axes", lines: Sequence[SupportSensitivity]) -> None:
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.set_yticks(range(len(lines)), list(shorten([line.method for line in lines], (24, 34)).values()))
    axis.grid(axis="y", visible=False)


def _legend(axis: "Axes", columns: int) -> None:
    """Put the legend above the axes, if there is anything to name."""
    if axis.get_legend_handles_labels()[0]:
        above = (0.5, 1.0)
        axis.legend(
            loc="lower center", bbox_to_anchor=above, frameon=False, ncols=columns, fontsize="small",
            handlelength=1.2, columnspacing=1.0,
        )  # fmt: skip


def save_plot(path: Path, tables: Sequence[SensitivityTable]) -> None:
    """Write the figure of all tables, one below the other; `path` ends in .png, .svg or .pdf.

    Raises:
        SettingsError: it ends in something else.
    """
    if path.suffix not in PLOTS:
        raise SettingsError(f"--plot is {path}, expected a name that ends in {', '.join(PLOTS)}")
    # slow to import
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    heights = [1.7 + 0.45 * len(table.lines) for table in tables]
    figure = Figure((9, sum(heights) + 0.3 * len(tables)), layout="constrained")
    parts = figure.subfigures(len(tables), 1, squeeze=False, height_ratios=heights)
    for part, table in zip(parts.flat, tables, strict=True):
        part.suptitle("\n".join(textwrap.wrap(table.title, 100)), fontsize="small")
        left, right = part.subplots(1, 2)
        plot_choices(left, table.lines)
        plot_parts(right, table.lines)
        right.set_yticklabels([])
    with replacing(path) as temporary, rc_context({"svg.hashsalt": "fsbench"}):  # the same file from the same runs
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=cast(Any, STAMPS[path.suffix]))
