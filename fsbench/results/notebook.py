"""Tables and comparisons of runs for notebooks: data frames, text and HTML of the command line's own numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsbench.results.comparison.compare import Comparison
from fsbench.results.comparison.layout import to_sheet as comparison_sheet
from fsbench.results.rows.row import rows_frame
from fsbench.results.rows.wide import WIDE_KINDS, wide_frame
from fsbench.results.sheets.html import html
from fsbench.results.sheets.text import text
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.render import render, sheets

if TYPE_CHECKING:
    import polars as pl

WIDTH = 120
"""Characters of a line of text."""


@dataclass(frozen=True)
class Table:
    """Tables of runs, one for each test, for notebooks and programs.

    Attributes:
        blocks: the scores of each test, with notes.
        by: names of the breakdowns to print, such as "class" or "size".
    """

    blocks: list[Block]
    by: Sequence[str] = ()

    @property
    def frame(self) -> "pl.DataFrame":
        """All scores as a data frame: a row for each method and fold, or each class or object size if `by` names these.

        For the columns see `fsbench.results.rows.wide.wide_frame`: scores such as "mIoU" with "mIoU low" and "mIoU
        high".
        """
        by = next((kind for kind in WIDE_KINDS if kind in self.by), None)
        # spared until it is needed
        import polars as pl

        return pl.concat([wide_frame(block.shown_rows, by) for block in self.blocks], how="diagonal")

    @property
    def text(self) -> str:
        """The tables as text, as the command `fsbench table` prints them."""
        return self.write("text", WIDTH)

    def write(self, form: str, width: int | None = None, wrap: bool = False) -> str:
        """Return the tables as text in a format.

        Args:
            form: "text", "markdown", "latex", "csv" or "json".
            width: largest number of characters in a line, for "text"; None for any.
            wrap: whether to wrap titles and notes to `width`, too.
        """
        return render(self.blocks, form, self.by, width, wrap)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return html(sheets(self.blocks, self.by))


@dataclass(frozen=True)
class Differences:
    """Paired differences of methods on the same episodes, for notebooks and programs.

    Attributes:
        comparisons: the comparison of methods on each test.
    """

    comparisons: list[Comparison]

    @property
    def frame(self) -> "pl.DataFrame":
        """Differences as a data frame, `method` minus `minus` (columns: `fsbench.results.rows.row.COLUMNS`)."""
        return rows_frame(row for comparison in self.comparisons for row in comparison.rows)

    @property
    def text(self) -> str:
        """The comparison as text, as the command `fsbench compare` prints it."""
        return text([comparison_sheet(comparison, all_pairs=False) for comparison in self.comparisons], WIDTH)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return html([comparison_sheet(comparison, all_pairs=False) for comparison in self.comparisons])
