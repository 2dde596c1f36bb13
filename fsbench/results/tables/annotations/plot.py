"""Draw what weaker annotations of the supports cost, method by method."""

from functools import partial
from typing import TYPE_CHECKING

from fsbench.data.annotations import WEAK
from fsbench.results.tables.analysis import Paint
from fsbench.results.tables.annotations.losses import AnnotationLoss, AnnotationTable
from fsbench.results.tables.drawing import COLORS, legend_above, name_rows, whiskers
from fsbench.results.tables.layout import in_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = dict(zip(WEAK, zip(COLORS, "sov^D", strict=False), strict=True))
"""Color and marker of each annotation."""


def panels(table: AnnotationTable) -> dict[str, Paint]:
    """Return the one panel that is drawn of a table."""
    return {"annotations": partial(plot_losses, table=table)}


def plotted(table: AnnotationTable) -> list[AnnotationLoss]:
    """Return the losses that are drawn: those of the first metric, and of the first fold where there is no mean."""
    fold = table.losses[0].line.fold
    return [loss for loss in table.losses if loss.metric == table.metrics[0] and loss.line.fold == fold]


def plot_losses(axis: "Axes", table: AnnotationTable) -> None:
    """Draw the differences to masks with their intervals: a row for each method, in it a mark for each annotation."""
    losses = plotted(table)
    masks = {loss.method: f"masks {loss.mask_score:.1f}" for loss in losses}
    methods = list(masks)
    kinds = [kind for kind in WEAK if any(loss.annotation == kind for loss in losses)]
    axis.axvline(0, color="#888888", linewidth=1, zorder=0)
    named: set[str] = set()
    for loss in losses:
        interval, kind = loss.line.estimate, loss.annotation
        row = methods.index(loss.method) + 0.6 * ((kinds.index(kind) + 0.5) / len(kinds) - 0.5)
        color, marker = LOOKS[kind]
        axis.errorbar(
            interval.value, row, xerr=whiskers([interval]), fmt=marker, color=color, capsize=3, markersize=6,
            label=None if kind in named else kind,
        )  # fmt: skip
        named.add(kind)
    name_rows(axis, methods, masks)
    fold = losses[0].line.fold
    where = "mean over folds" if fold == "mean" else f"fold {fold}"
    words = [f"{losses[0].metric} minus that with masks", in_units([losses[0].metric]), where, "95 % intervals"]
    axis.set_xlabel(", ".join(words))
    legend_above(axis, len(kinds))
