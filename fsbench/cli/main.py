"""The `fsbench` command: registers the subcommands, one file each, and prints errors in one line."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from fsbench import __version__
from fsbench.cli import (
    bench,
    cache,
    compare,
    cost,
    demo,
    explain,
    grid,
    predict,
    regress,
    report,
    reproduce,
    table,
)
from fsbench.cli import (
    list as listing,
)
from fsbench.cli.inputs import checkpoint, data, manifest, weights
from fsbench.errors import GOES_ON, FsbenchError, SettingsError, SeveralErrors, describe, user_message
from fsbench.paths import cache_size
from fsbench.terminal import print_block, print_error, print_line

COMMANDS = (
    bench, table, listing, manifest, cost, predict, demo, explain, compare, grid, reproduce, regress, report,
    checkpoint, data, weights, cache,
)  # fmt: skip
"""Modules of subcommands, in the order of `fsbench --help`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0, 1 (some of the work failed), 2 (the work could not be done, for the reason that one line
        says), 130 (interrupted), 141 (who read the output closed it).
    """
    # Before torch is imported: its threads spin for milliseconds while they wait, which makes a busy machine crawl;
    # 1000 turns (some microseconds) cost nothing on a quiet one.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    parser = _parser()
    try:
        options, extra = parser.parse_known_args(argv)
        cache_size()  # a variable that is wrong is refused before anything starts
    except SettingsError as error:
        print_error(str(error))
        return 2
    if extra and options.command not in ("bench", "run"):
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    options.debug = options.debug or os.environ.get("FSBENCH_TRACEBACK", "0") not in ("", "0")
    try:
        return int(options.function(options, extra))
    except BrokenPipeError:  # as `fsbench list | head` ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's last flush finds a reader
        return 141
    except Exception as error:
        if options.debug:
            raise
        if isinstance(error, FsbenchError) and error.is_told:
            return 2
        if options.command == "run":
            print_line(file=sys.stderr)  # below the bar of progress
        if isinstance(error, FsbenchError):
            for single in error.errors if isinstance(error, SeveralErrors) else (error,):
                print_block(f"fsbench: error: {user_message(single)}", sys.stderr)
        else:
            where = "; ".join(getattr(error, "__notes__", ())) or "FSBENCH_TRACEBACK=1 shows where"
            print_error(f"{describe(error)} ({where})")
        return 2
    except KeyboardInterrupt:
        command, action = options.command, getattr(options, "action", "")
        resumes = command in ("bench", "run", "predict") or action in ("prepare", "fetch")
        print_line(file=sys.stderr)
        print_line(f"fsbench: stopped{f'; {GOES_ON}' * resumes}", sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """The standard parser, whose refusals show control characters of the arguments and stay short."""

    def error(self, message: str) -> NoReturn:
        words = re.sub(r"^argument (-\S+)(/\S+)*: is ", r"\1 is ", message)
        if words != message:  # a number out of its range, as handlers refuse it
            raise SettingsError(words)
        print_error(f"{words}; see: {self.prog} --help")
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fsbench",
        description="Benchmarks of few-shot segmentation and few-shot classification.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True)
    for module in COMMANDS:
        module.add_parser(commands)
    return parser
