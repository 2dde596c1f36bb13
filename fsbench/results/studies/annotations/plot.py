"""Draw what weaker annotations of the supports cost, method by method."""

from functools import partial
from typing import TYPE_CHECKING

from fsbench.data.annotations import WEAK
from fsbench.results.rows.row import ResultRow
from fsbench.results.sheets.drawing import COLORS, draw_interval, legend_above, name_rows, row_fold_words
from fsbench.results.sheets.legend import in_units
from fsbench.results.studies.analysis import Paint
from fsbench.results.studies.annotations.losses import AnnotationTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = dict(zip(WEAK, zip(COLORS, "sov^D", strict=False), strict=True))
"""Color and marker of each annotation."""


def panels(table: AnnotationTable) -> dict[str, Paint]:
    """Return {name: function that draws on axes} for the only panel of a table's plot."""
    return {"annotations": partial(plot_losses, table=table)}


def plotted(table: AnnotationTable) -> list[ResultRow]:
    """Return the differences to draw: in the first metric, for the mean over folds or the first fold."""
    first = table.differences[0]
    return [loss for loss in table.differences if (loss.metric, loss.fold) == (table.metrics[0], first.fold)]


def plot_losses(axis: "Axes", table: AnnotationTable) -> None:
    """Draw score differences to masks with intervals: a row for each method, a marker for each annotation."""
    losses = plotted(table)
    masks = {loss.method: f"masks {loss.scores[1]:.1f}" for loss in losses}
    methods = list(masks)
    kinds = [kind for kind in WEAK if any(loss.part == kind for loss in losses)]
    axis.axvline(0, color="#888888", linewidth=1, zorder=0)
    for loss in losses:
        row = methods.index(loss.method) + 0.6 * ((kinds.index(loss.part) + 0.5) / len(kinds) - 0.5)
        color, marker = LOOKS[loss.part]
        draw_interval(axis, row, loss.estimate, marker, color, loss.part, size=6)
    name_rows(axis, methods, masks)
    metric = losses[0].metric
    words = [f"{metric} minus that with masks", in_units([metric]), row_fold_words([losses[0].fold]), "95 % intervals"]
    axis.set_xlabel(", ".join(words))
    legend_above(axis, len(kinds))
