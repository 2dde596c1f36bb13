"""The one way from finished runs to what follows from them: a table in every format, panels of a page, a figure."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from fsbench.results.rows.row import ResultRow
from fsbench.results.sheets.drawing import check_plot, save_figure
from fsbench.results.sheets.formats import write_results
from fsbench.results.table import Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

Paint = Callable[["Axes"], None]
"""Draws one panel."""


class Titled(Protocol):
    """Protocol of a table that a study derives from runs: its JSON has all fields, its CSV only its rows."""

    @property
    def title(self) -> str: ...

    @property
    def rows(self) -> Sequence[ResultRow]: ...


T = TypeVar("T", bound=Titled)


@dataclass(frozen=True)
class Analysis(Generic[T]):
    """Kind of study (a group of runs that are compared), such as scores by number of shots: how to print and plot it.

    Attributes:
        name: name of the files with its results, without ending.
        sheet: takes a table of the study and returns it laid out for printing.
        panels: takes a table of the study and returns {name: function that draws one panel of its plot}.
        height: takes a table of the study and returns the height of its panels, in inches.
        width: width of a panel, in inches.
        named_rows: whether panels have a row for each method, with the methods' names once at the left; else panels
            share one legend.
    """

    name: str
    sheet: Callable[[T], Sheet]
    panels: Callable[[T], Mapping[str, Paint]]
    height: Callable[[T], float]
    width: float
    named_rows: bool

    def write(self, tables: Sequence[T], form: str, width: int | None = None, wrap: bool = False) -> str:
        """Return tables of the study as text in the format `form`: "text", "markdown", "latex", "csv" or "json"."""
        rows = (row for table in tables for row in table.rows)
        return write_results(form, [self.sheet(table) for table in tables], rows, tables, width, wrap)

    def save_figure(self, path: Path, tables: Sequence[T], caption: str = "") -> None:
        """Write a plot of all tables of a study, one below the other, to a file.

        Args:
            path: the file to write; its ending determines the format.
            tables: the tables to draw.
            caption: a line of text below them.

        Raises:
            SettingsError: the file's ending is not that of a plot format.
        """
        check_plot(path)
        from matplotlib.figure import Figure  # slow to import

        panels = [self.panels(table) for table in tables]
        heights = [self.height(table) + 0.3 for table in tables]
        width = max(7.0, self.width * max(map(len, panels)))
        figure = Figure((width, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(tables), 1, squeeze=False, height_ratios=heights)
        for part, table, painted in zip(parts.flat, tables, panels, strict=True):
            part.suptitle("\n".join(textwrap.wrap(table.title, round(11 * width))), fontsize="small")
            self._draw(part, list(painted.values()))
        if caption:
            figure.supxlabel(caption, fontsize="small", parse_math=False)
        save_figure(path, figure)

    def _draw(self, part: "SubFigure", panels: Sequence[Paint]) -> None:
        """Draw the panels of one table side by side."""
        axes: Any = part.subplots(1, len(panels), squeeze=False)
        for axis, paint in zip(axes.flat, panels, strict=True):
            axis.grid(color="#888888", alpha=0.25)
            paint(axis)
        if self.named_rows:
            for axis in axes.flat[1:]:
                axis.set_yticklabels([])
            return
        handles, labels = axes.flat[0].get_legend_handles_labels()
        for axis in axes.flat:
            axis.get_legend().remove()
        part.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
