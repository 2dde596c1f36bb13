"""Sections of a report that show an analysis of its runs: plots, tables and files."""

from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from fsbench.base.files import write_text
from fsbench.pages.report.plots import draw_svg
from fsbench.results.studies.analysis import Analysis, T
from fsbench.results.table import Sheet


class Section(NamedTuple):
    """A table of a study (a group of runs that are compared), such as scores by shots, with its plots for an HTML page.

    Attributes:
        table: the table as computed.
        sheet: the table laid out for printing, with title and notes.
        plots: {name of a panel: SVG text}.
        files: {name of a panel: name of the SVG file with its plot}.
    """

    table: object
    sheet: Sheet
    plots: dict[str, Markup]
    files: dict[str, str]


def analysis_section(folder: Path, analysis: Analysis[T], table: T, salt: str, prefix: str = "") -> Section:
    """Write the plots of a study's table as files into `folder`; return the table with its plots for an HTML page.

    Args:
        folder: the folder of the page.
        analysis: how this kind of study is printed and plotted.
        table: the table.
        salt: text that makes the ids in this plot's SVG unique on its page.
        prefix: prefix of the file names, for pages with several tables of one kind.
    """
    plots, files = {}, {}
    for name, paint in analysis.panels(table).items():
        svg = draw_svg(paint, f"{salt}{name}", height=analysis.height(table))
        files[name] = f"{prefix}{name.replace(' ', '-')}.svg"
        write_text(folder / files[name], svg)
        plots[name] = Markup(svg)
    return Section(table, analysis.sheet(table), plots, files)
