"""`fsbench grid`: show what of a grid is done, and run the rest."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.base.files import make_folder, parse_json
from fsbench.base.progress import track
from fsbench.base.terminal import one_line, print_block, print_line, print_next, text_width
from fsbench.cli.options import add_format, add_runs_folder, data_roots, pairs
from fsbench.protocols.reading import metric_names
from fsbench.results.sheets.formats import write_sheets
from fsbench.runner.config.limits import whole
from fsbench.runner.config.registry import names
from fsbench.runner.grid.executors import TIMEOUT_MIN, Executor, LocalProcesses, Submitit
from fsbench.runner.grid.plan import LOOKING_UP, PlannedRun, plan
from fsbench.runner.grid.plan_sheet import as_json, missing_lines, refusal_lines, to_sheet
from fsbench.runner.grid.run import Failure, last_lines, run_missing
from fsbench.runner.grid.spec import read_grid
from fsbench.runner.grid.summary import VALIDATION, remarks, summaries
from fsbench.runner.grid.words import run_label, run_variant

METRICS = "mIoU,FB-IoU,accuracy"
EXECUTORS = ("local", "slurm", "submitit-local")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", help="grids: files, or names of configs/grids such as shots")
    add_runs_folder(parser)
    add_executor_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show what is missing, as without --run")
    parser.add_argument("--fast", action="store_true", help="trials of a few minutes")
    parser.add_argument(
        "--recheck", action="store_true", help="work out again which run is which, instead of trusting earlier notes"
    )
    parser.add_argument(
        "--metrics",
        help=f"scores to show, with commas (see: fsbench list); {VALIDATION} is the validation's, and sorts if first "
        f"(default: {METRICS} and {VALIDATION})",
    )
    add_format(parser, ("text", "markdown", "latex", "json"))
    parser.set_defaults(function=_grid)


def add_executor_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where and how runs are executed, and where data sets are."""
    parser.add_argument("--run", action="store_true", help="run what is missing")
    parser.add_argument(
        "--executor", choices=EXECUTORS, default="local", help="where to run: local is this machine (default: local)"
    )
    parser.add_argument(
        "--array",
        type=whole(1, 10000),
        default=1,
        metavar="N",
        help="number of runs at a time, here or in a SLURM array (default: 1)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option for submitit, such as slurm_partition=gpu or timeout_min=600 (default: 24 hours)",
    )
    parser.add_argument("--data-root", action="append", default=[], metavar="DATASET=DIR", help="folder of a data set")


def _grid(options: argparse.Namespace, extra: list[str]) -> int:
    if options.dry_run and options.run:
        raise SettingsError("--dry-run shows what is missing and --run runs it; give one of them")
    if "run" in options.files and not Path("run").exists() and "run" not in names("grids"):
        raise SettingsError(
            "'run' is not a grid; expected files or names of grids; to run what is missing, add --run: "
            f"fsbench grid {' '.join(word for word in options.files if word != 'run') or 'shots'} --run"
        )
    metrics = _metric_names(METRICS if options.metrics is None else options.metrics)
    executor = choose_executor(options)
    roots = data_roots(options)
    runs = read_grid(options.files, roots, fast=options.fast, runs=str(options.runs))

    planned = plan(track(runs, LOOKING_UP, "combination"), options.runs, options.recheck)
    failed = False
    if executor is not None:
        print_obstacles(planned)
        failures = run_missing(planned, options.runs, executor)
        print_failures(failures)
        planned = plan(runs, options.runs)
        failed = bool(failures) or any(item.obstacle for item in planned)
    validated = options.metrics is None and any(one.value is not None for one in summaries(planned, [VALIDATION]))
    shown = planned, summaries(planned, [*metrics, *[VALIDATION] * validated]), remarks(planned, runs)
    if options.format == "json":
        print_block(as_json(*shown))
        return 1 if failed else 0
    print_block(write_sheets(options.format, [to_sheet(*shown)], *text_width()))
    if options.format == "text":
        print_next(_next_commands(options, planned))
    return 1 if failed else 0


def _metric_names(text: str) -> list[str]:
    """Return the names of scores in a text with commas. Raises SettingsError if one is unknown, or there is none."""
    words = [word.strip() for word in text.split(",") if word.strip()] or [text]
    return list(dict.fromkeys(word for one in words for word in ([one] if one == VALIDATION else metric_names(one))))


def _next_commands(options: argparse.Namespace, planned: Sequence[PlannedRun]) -> list[str]:
    """Return the commands to go on with: the same with --run while there is something to run, else what compares."""
    if any(item.is_ready for item in planned):
        words = [word for word in options.words if word != "--dry-run"]
        return [shlex.join(["fsbench", *words, *["--run"] * (not options.run)])]
    methods: dict[str, set[tuple[str, ...]]] = {}
    for item in planned:
        if item.record is not None:
            methods.setdefault(item.record.manifest_sha256, set()).add(run_variant(item.config))
    runs = shlex.quote(str(options.runs))
    compares = any(len(names) > 1 for names in methods.values())
    first = f"fsbench compare {runs}" if compares else f"fsbench table {runs} --all"
    return [first, f"fsbench report {runs}"] if methods else []


def print_obstacles(planned: Sequence[PlannedRun]) -> None:
    """Print why some runs of a grid cannot be made, unless none can: then the table of runs says why."""
    ready = sum(item.is_ready for item in planned)
    if not ready:
        return
    for line in [*refusal_lines(planned), *missing_lines(planned)]:
        print_line(f"fsbench: {line}", sys.stderr)
    if hindered := sum(bool(item.obstacle) for item in planned):
        runs, start = "run" if hindered == 1 else "runs", "starts" if ready == 1 else "start"
        print_line(f"fsbench: {hindered} {runs} cannot start; {ready} {start} now", sys.stderr)


def print_failures(failures: Sequence[Failure]) -> None:
    """Print the end of each failed run's log."""
    for failure in failures:
        lines = last_lines(failure.log)
        end = f"the end of {failure.log}:" if lines else "it printed nothing"
        print_line(f"fsbench: {run_label(failure.item.config)} {failure.ending}; {end}", sys.stderr)
        for line in lines:
            print_line(f"    {one_line(line)}", sys.stderr)


def choose_executor(options: argparse.Namespace) -> Executor | None:
    """Return what executes the runs (local processes or a cluster); None without --run, when runs are only listed.

    Raises SettingsError for options that do not fit together.
    """
    if not options.run:
        return None
    make_folder(options.runs)
    parameters = dict(pairs(options.set, "--set", "KEY=VALUE"))
    if options.executor == "local":
        if parameters:
            raise SettingsError("--set is for --executor slurm; this machine has nothing to set")
        return LocalProcesses(options.array)
    cluster = options.executor.removeprefix("submitit-")
    values = {key: _plain(value) for key, value in parameters.items()}
    if not {"timeout_min", f"{cluster}_timeout_min", "slurm_time"} & values.keys():
        limit = f"fsbench: a job may take {TIMEOUT_MIN // 60} h; --set timeout_min=<minutes> sets another limit"
        print_line(limit, sys.stderr)
    return Submitit(cluster, options.runs / ".grid" / "submitit", options.array, values)


def _plain(text: str) -> Any:
    """Return a value of --set: a number, a list or anything else that is JSON, or else the text itself."""
    try:
        return parse_json(text)
    except ValueError:
        return text
