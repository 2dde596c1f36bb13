"""Options that several commands share, each with its words in one place."""

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.base.files.figures import check_figure
from fsbench.results.sheets.drawing import PLOTS, check_plot
from fsbench.results.tables.breakdowns import BREAKDOWNS
from fsbench.runner.config.datasets import root_of
from fsbench.runner.config.limits import check_output_file, check_replaced, real, whole
from fsbench.runner.config.registry import check_known
from fsbench.runner.config.run_config import Option, run_options, task_options

TABLE_FORMATS = ("text", "markdown", "csv", "latex", "json")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the folders of finished runs."""
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs; a folder may hold several runs")


def add_runs_folder(parser: argparse.ArgumentParser) -> None:
    """Add the option `--runs`, a Path: the folder in which each run has a folder of its own."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), help=bench_help("runs"))


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses scores."""
    parser.add_argument(
        "--metrics",
        help="scores to show, with commas (see: fsbench list); FILE.py:Class is a score of your own (its code is run)",
    )  # fmt: skip


def add_format(parser: argparse.ArgumentParser, formats: Collection[str]) -> None:
    """Add the option that chooses one of `formats`; the default is "text" unless another is given."""
    parser.add_argument("--format", choices=formats, default="text", help="format of the output (default: text)")


def add_rank_all(parser: argparse.ArgumentParser) -> None:
    """Add the option --rank-all, which ranks methods together that were trained under different conditions."""
    parser.add_argument(
        "--rank-all",
        action="store_true",
        help="rank all rows together, even if methods saw different data or labels or answers were made elsewhere; "
        "marks show the difference",
    )


def add_table_options(parser: argparse.ArgumentParser, *, more_breakdowns: Sequence[str] = ()) -> None:
    """Add the options of a table of scores, for `fsbench table` and `fsbench bench`.

    Args:
        parser: the parser of the command.
        more_breakdowns: further words that the command's --by accepts, besides the breakdowns of a table of scores.
    """
    add_format(parser, TABLE_FORMATS)
    add_metrics(parser)
    parser.add_argument(
        "--by",
        action="append",
        choices=(*BREAKDOWNS, *more_breakdowns),
        default=[],
        help="break the scores down by this; may be repeated",
    )
    parser.add_argument("--by-class", action="store_true", help="the same as --by class")
    parser.add_argument(
        "--trainings", action="store_true", help="show each training (seed) of a method below its mean over them"
    )
    parser.add_argument("--all", action="store_true", help="show every breakdown, and where the files of each run are")
    parser.add_argument("--published", action="store_true", help="show published figures beside the measured ones")
    parser.add_argument("--no-trivial", action="store_true", help="leave out the answers without a model")
    add_rank_all(parser)


def add_file_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that write a figure and a folder of files."""
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"file of a figure to draw: {', '.join(PLOTS)}")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder to which the table is written as .txt, .csv and .json"
    )


def check_plot_file(path: Path | None) -> None:
    """Raise SettingsError if `path` cannot be written or is a file that fsbench did not draw."""
    if path is not None:
        check_plot(path)
        check_output_file(path, "--plot")
        check_replaced(path, "--plot", "figure of fsbench", check_figure)


def add_class_files(parser: argparse.ArgumentParser) -> None:
    """Add the option that names Python files with the user's own classes, whose code may be run."""
    parser.add_argument(
        "--method", action="append", default=[], metavar="FILE.py:Class",
        help="file and class of a method or data set, if the runs used a class in a file (its code is run); may be "
        "repeated",
    )  # fmt: skip


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the data are."""
    for field, name in (("data_root", "--data-root"), ("lists", "--lists")):
        parser.add_argument(name, help=bench_help(field))


def given_root(options: argparse.Namespace) -> str | None:
    """Return the folder that --data-root names, as DIR or DATASET=DIR; None if it was not given."""
    return None if options.data_root is None else root_of(getattr(options, "dataset", None), options.data_root)


def data_roots(options: argparse.Namespace) -> dict[str, str]:
    """Return {data set: folder} from values DATASET=DIR of --data-root."""
    roots = dict(pairs(options.data_root, "--data-root", "DATASET=DIR, e.g. coco=/data/coco"))
    for name in roots:
        check_known("data", "data set", name)
    return roots


def pairs(texts: Sequence[str], option: str, form: str) -> list[tuple[str, str]]:
    """Return (key, value) for each text KEY=VALUE, in order.

    Raises SettingsError for a text of another form; the message names `option` and its expected `form`.
    """
    parts = [text.partition("=") for text in texts]
    for text, (key, sign, value) in zip(texts, parts, strict=True):
        if not (key and sign and value):
            raise SettingsError(f"{option} is '{text}', expected {form}")
    return [(key, value) for key, _, value in parts]


def given_lists(options: argparse.Namespace) -> list[str]:
    """Return the folders that --lists names, separated by commas; empty if it was not given."""
    return [word.strip() for word in (options.lists or "").split(",") if word.strip()]


def add_episode_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a test's episodes: protocol, way, shot, and so on."""
    parser.add_argument("--protocol", help="protocol (see: fsbench list protocols; default: fscs), or FILE.yaml")
    for name, option in task_options().items():
        add_option(parser, option, name, **({"type": whole(option.least or 0)} if option.kind is int else {}))


def add_option(parser: argparse.ArgumentParser, option: Option, dest: str, **how: Any) -> None:
    """Add an option of a run, stored as `dest` only if it is given; `how` are further arguments of `add_argument`."""
    if option.kind is bool:
        how = {"action": "store_false" if option.switches_off else "store_true"}
    parser.add_argument(f"--{option.name}", dest=dest, default=argparse.SUPPRESS, **{"help": option.help, **how})


def given_task(options: argparse.Namespace) -> dict[str, Any]:
    """Return {field of the test's task: value} for the task options that were given, such as way and shot."""
    return {name: getattr(options, name) for name in task_options() if name in options}


def add_download_options(parser: argparse.ArgumentParser, mirror: str) -> None:
    """Add the options of downloads; `mirror` says which addresses below --url-base are asked."""
    parser.add_argument("--from", dest="source", metavar="DIR", help="folder that already holds the files")
    parser.add_argument("--url-base", metavar="URL", help=f"mirror: {mirror}")
    parser.add_argument("--timeout", type=real(0.001, 86400), default=30.0, help="seconds to wait for an answer")
    parser.add_argument("--retries", type=whole(0, 1000), default=5, help="failed attempts before it gives up")
    parser.add_argument(
        "--backoff",
        type=real(0, 3600),
        default=1.0,
        help="seconds before the second attempt; doubled for each further one",
    )


def bench_help(field: str) -> str:
    """Return the help text of `fsbench bench` for the option that sets `field`."""
    return next(option.help for option in run_options() if option.field == field)
