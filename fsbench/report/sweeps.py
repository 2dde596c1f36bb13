"""The report's page of curves: score, time and memory of runs that differ in one number alone."""

import shlex
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fsbench.files import write_text
from fsbench.report.plots import draw_svg
from fsbench.tables.sweep.axes import WORDS
from fsbench.tables.sweep.curves import CurveTable, to_sheet
from fsbench.tables.sweep.plot import COSTS, panels, plot_panel


def curve_section(folder: Path, number: int, table: CurveTable) -> dict[str, Any]:
    """Write the plots of a table of curves into `folder`, and return what its section of the page takes.

    Args:
        folder: of the report.
        number: of the section, from 1, by which its files and their ids are told apart.
        table: the curves.
    """
    plots, files = {}, {}
    for name, height in ((name, 3.4 + 0.2 * len(table.curves)) for name in panels(table)):
        svg = draw_svg(partial(plot_panel, table=table, panel=name), f"curve{number}{name}", 5.0, height)
        files[name] = f"curve-{number}-{name.replace(' ', '-')}.svg"
        write_text(folder / files[name], svg)
        plots[name] = Markup(svg)
    runs = sorted({run for curve in table.curves for point in curve.points for run in point.runs})
    return {
        "table": table,
        "sheet": to_sheet(table),
        "label": WORDS[table.axis].label,
        "plots": plots,
        "files": files,
        "words": {name: f"{COSTS[name][0].upper()}{COSTS[name][1:]}" if name in COSTS else name for name in plots},
        "command": shlex.join(["fsbench", "curves", *runs, "--by", table.axis]),
    }
