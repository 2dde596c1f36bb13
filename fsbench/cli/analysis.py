"""Options and output of analyses of finished runs: a table, files and a figure (`fsbench table --by shots`)."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from fsbench.base.errors import say_left_out
from fsbench.base.files import write_text
from fsbench.base.files.figures import check_figure
from fsbench.base.files.folders import check_free, replacing_folder
from fsbench.base.terminal import print_block, text_width
from fsbench.records.record import Record, finished_records
from fsbench.results.tables.analysis import Analysis, T
from fsbench.results.tables.drawing import PLOTS, check_plot
from fsbench.runner.config.limits import check_output_file, check_replaced

KIND = "comparison"
"""Word for a folder of `--out`, which is known by its JSON."""


def add_file_options(parser: argparse._ActionsContainer) -> None:
    """Add the options for a figure, and for a folder of files."""
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"figure: {', '.join(PLOTS)}")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write them as .txt, .csv and .json there, too")


def check_plot_file(path: Path | None) -> None:
    """Raise SettingsError if a figure cannot be written to `path`, or would replace what fsbench did not draw."""
    if path is not None:
        check_plot(path)
        check_output_file(path, "--plot")
        check_replaced(path, "--plot", "figure of fsbench", check_figure)


def show(
    options: argparse.Namespace,
    analysis: Analysis[T],
    tables: Callable[[Sequence[Record]], Sequence[T]],
    caption: str = "",
) -> int:
    """Read runs and show what follows from them, as the options ask.

    Args:
        options: of the command: `runs`, which are its folders, `format`, and those of `add_file_options`.
        analysis: how tables are shown.
        tables: makes them of the runs.
        caption: a line below the figure.

    Returns:
        The exit status.
    """
    mark = f"{analysis.name}.json"
    check_plot_file(options.plot)
    if options.out is not None:
        check_free(options.out, mark, KIND)
    records, refused = finished_records(options.runs)
    found = tables(records)
    if options.plot is not None:
        analysis.save_figure(options.plot, found, caption)
    width, wrap = text_width()
    if options.out is not None:
        with replacing_folder(options.out, mark, KIND) as new:
            for ending, form in (("txt", "text"), ("csv", "csv"), ("json", "json")):
                write_text(new / f"{analysis.name}.{ending}", analysis.write(found, form, width, wrap=True))
    print_block(analysis.write(found, options.format, width, wrap))
    return say_left_out(refused)
