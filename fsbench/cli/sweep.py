"""`fsbench sweep`: W&B's own sweep files on this machine, without an account or a network."""

import argparse
from pathlib import Path

from fsbench.base.errors import SettingsError, did_you_mean, raise_all
from fsbench.base.terminal import print_block, print_line, print_progress
from fsbench.cli.parser import Parser, add_table_options
from fsbench.pages.sweep.page import sweep_sheet, write_page
from fsbench.results.tables.formats import SHEETS
from fsbench.runner.config.limits import whole
from fsbench.runner.config.registry import sweep_file
from fsbench.runner.config.request import Request, add_bench_options, bench_options, read_request
from fsbench.runner.config.request_check import request_errors
from fsbench.runner.sweep.run import SweepRun, read_trials, state_folder
from fsbench.runner.sweep.spec import read_sweep


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.allow_abbrev = False
    parser.add_argument("file", help="sweep of W&B: a file, or a name of configs/sweeps such as emat")
    parser.add_argument("--local", action="store_true", help="run it here; for W&B's server: wandb sweep FILE")
    parser.add_argument("--count", type=whole(1, 100_000), help="trials in all (default: run_cap, a grid's all, or 20)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--at-once", type=whole(1, 1000), default=1, metavar="N", help="trials at a time")
    parser.add_argument("--search-seed", type=whole(0, 2**31 - 1), default=0, help="of random and bayes")
    parser.add_argument("--dry-run", action="store_true", help="run nothing: show the trials and write the page")
    parser.add_argument("--out", type=Path, metavar="FILE", help="page (default: beside the trials in RUNS/.sweeps)")
    parser.epilog = "Further arguments stand at the end of the sweep's command, such as --data.episodes=100."
    parser.set_defaults(function=_sweep)


def _sweep(options: argparse.Namespace, extra: list[str]) -> int:
    _check_words(options, extra)
    if not options.local:
        raise SettingsError("sweep runs here with --local alone; give it, or register the file with: wandb sweep FILE")
    sweep = read_sweep(sweep_file(options.file)).with_words(extra, options.search_seed)

    def request_of(words: list[str]) -> Request:
        return _request([*words, f"--runs={options.runs}"])

    run = SweepRun(sweep, options.runs, request_of, options.at_once, options.search_seed, print_progress)
    trials = read_trials(sweep, options.runs) if options.dry_run else run.run(options.count)
    page = options.out or state_folder(sweep, options.runs) / "index.html"
    if trials:
        print_block(SHEETS["text"]([sweep_sheet(sweep, trials)]))
        print_line(f"{write_page(sweep, trials, options.runs, page)}")
    else:
        print_line(f"no trial of {sweep.name} in {options.runs} yet")
    return int(any(trial.state == "failed" for trial in trials))


def _check_words(options: argparse.Namespace, extra: list[str]) -> None:
    """Raise SettingsError for an option that neither sweep nor bench has, unless it is one of the configuration."""
    own = [name.replace("_", "-") for name in (*vars(options), "quiet", "verbose")]
    known = [f"--{name}" for name in (*own, *(option.name for option in bench_options()))]
    for word in (word.partition("=")[0] for word in extra if word.startswith("--") and "." not in word):
        if word not in (*known, "--config"):
            raise SettingsError(f"unrecognized arguments: {word}{did_you_mean(word, known)}")


def _request(words: list[str]) -> Request:
    """Read a command line of `fsbench bench`. Raises FsbenchError for what it refuses."""
    parser = Parser(prog="fsbench bench", allow_abbrev=False, add_help=False)
    add_bench_options(parser)
    add_table_options(parser)
    given, extra = parser.parse_known_args(words)
    request, errors = read_request(given, extra)
    raise_all([*errors, *request_errors(request)])
    return request
