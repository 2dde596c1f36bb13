"""Draw what weaker annotations of the supports cost, method by method."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fsbench.data.annotations import WEAK
from fsbench.errors import SettingsError
from fsbench.files import replacing
from fsbench.files.figures import STAMPS
from fsbench.tables.annotations.losses import AnnotationLoss, AnnotationTable
from fsbench.tables.compare_layout import PLOTS
from fsbench.tables.layout import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = dict(zip(WEAK, ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"), strict=True))
MARKERS = dict(zip(WEAK, "sov^D", strict=True))


def plotted(table: AnnotationTable) -> list[AnnotationLoss]:
    """Return the losses that are drawn: those of the first metric, and of the first fold where there is no mean."""
    fold = table.losses[0].line.fold
    return [loss for loss in table.losses if loss.metric == table.metrics[0] and loss.line.fold == fold]


def plot_losses(axis: "Axes", losses: Sequence[AnnotationLoss]) -> None:
    """Draw the differences to masks with their intervals: a row for each method, in it a mark for each annotation."""
    methods = list(dict.fromkeys(loss.method for loss in losses))
    kinds = [kind for kind in WEAK if any(loss.annotation == kind for loss in losses)]
    axis.axvline(0, color="#888888", linewidth=1, zorder=0)
    named: set[str] = set()
    for loss in losses:
        interval, kind = loss.line.difference.difference, loss.annotation
        row = methods.index(loss.method) + 0.6 * ((kinds.index(kind) + 0.5) / len(kinds) - 0.5)
        ends = [[max(interval.value - interval.low, 0)], [max(interval.high - interval.value, 0)]]
        axis.errorbar(
            interval.value, row, xerr=ends, fmt=MARKERS[kind], color=COLORS[kind], capsize=3, markersize=6,
            label=None if kind in named else kind,
        )  # fmt: skip
        named.add(kind)
    axis.set_ylim(len(methods) - 0.5, -0.5)
    short = shorten(methods, (24, 34))
    axis.set_yticks(range(len(methods)), [_row_name(short[name], name, losses) for name in methods])
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(f"{losses[0].metric} minus that with masks, in points, 95 % intervals")
    axis.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, ncols=len(kinds), fontsize="small",
        handlelength=1.2, columnspacing=1.0,
    )  # fmt: skip


def _row_name(short: str, method: str, losses: Sequence[AnnotationLoss]) -> str:
    score = next(loss.mask_score for loss in losses if loss.method == method)
    return f"{short}\nmasks {score:.1f}"


def save_plot(path: Path, tables: Sequence[AnnotationTable]) -> None:
    """Write the figure of all tables, one below the other; `path` ends in .png, .svg or .pdf.

    Raises:
        SettingsError: it ends in something else.
    """
    if path.suffix not in PLOTS:
        raise SettingsError(f"--plot is {path}, expected a name that ends in {', '.join(PLOTS)}")
    # slow to import
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    heights = [1.5 + 0.8 * len(table.methods) for table in tables]
    figure = Figure((7, sum(heights) + 0.3 * len(tables)), layout="constrained")
    parts = figure.subfigures(len(tables), 1, squeeze=False, height_ratios=heights)
    for part, table in zip(parts.flat, tables, strict=True):
        part.suptitle("\n".join(textwrap.wrap(table.title, 90)), fontsize="small")
        axis = part.subplots()
        plot_losses(axis, plotted(table))
        axis.grid(axis="x", color="#888888", alpha=0.25)
    with replacing(path) as temporary, rc_context({"svg.hashsalt": "fsbench"}):  # the same file from the same runs
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=cast(Any, STAMPS[path.suffix]))
