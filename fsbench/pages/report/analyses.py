"""Sections of a report that show an analysis of its runs: plots, tables and files."""

from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from fsbench.base.files import write_text
from fsbench.pages.report.plots import draw_svg
from fsbench.results.studies.analysis import Analysis, T
from fsbench.results.table import Sheet


class Section(NamedTuple):
    """A table of an analysis, as a page shows it.

    Attributes:
        table: the table itself.
        sheet: the table, laid out.
        plots: SVG by panel.
        files: names of the files that hold the plots, by panel.
    """

    table: object
    sheet: Sheet
    plots: dict[str, Markup]
    files: dict[str, str]


def analysis_section(folder: Path, analysis: Analysis[T], table: T, salt: str, prefix: str = "") -> Section:
    """Write the plots of a table into `folder`, and return its section of a page.

    Args:
        folder: the folder of the page.
        analysis: how the table is shown.
        table: what is shown.
        salt: keeps the ids of plots on one page apart.
        prefix: the prefix of the names of its files, where a page shows several tables of a kind.
    """
    plots, files = {}, {}
    for name, paint in analysis.panels(table).items():
        svg = draw_svg(paint, f"{salt}{name}", height=analysis.height(table))
        files[name] = f"{prefix}{name.replace(' ', '-')}.svg"
        write_text(folder / files[name], svg)
        plots[name] = Markup(svg)
    return Section(table, analysis.sheet(table), plots, files)
