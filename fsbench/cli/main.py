"""The `fsbench` command: registers the subcommands, one file each, and prints errors in one line."""

import argparse
import os
import sys
from collections.abc import Sequence

from fsbench import __version__
from fsbench.cli import (
    bench,
    compare,
    cost,
    demo,
    explain,
    grid,
    predict,
    regress,
    report,
    table,
)
from fsbench.cli import (
    list as listing,
)
from fsbench.cli.inputs import checkpoint, data, manifest, weights
from fsbench.errors import GOES_ON, FsbenchError, user_message

COMMANDS = (
    bench, table, listing, manifest, cost, predict, demo, explain, compare, grid, regress, report, checkpoint, data,
    weights,
)  # fmt: skip
"""Modules of subcommands, in the order of `fsbench --help`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0, 1 (some of the work failed), 2 (bad input, described in one line), 130 (interrupted).
    """
    # Before torch is imported: its threads spin for milliseconds while they wait, which makes a busy machine crawl;
    # 1000 turns (some microseconds) cost nothing on a quiet one.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    parser = _parser()
    options, extra = parser.parse_known_args(argv)
    if extra and options.command not in ("bench", "run"):
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    try:
        return int(options.function(options, extra))
    except FsbenchError as error:
        if options.debug:
            raise
        below_progress = "\n" if options.command == "run" else ""
        print(f"{below_progress}fsbench: error: {user_message(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        command, action = options.command, getattr(options, "action", "")
        resumes = command in ("bench", "run", "predict") or action in ("prepare", "fetch")
        print(f"\nfsbench: stopped{f'; {GOES_ON}' * resumes}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
