"""The `fsbench` command: registers the subcommands, one file each, and prints errors in one line."""

import os
import sys
from collections.abc import Sequence

from fsbench.cli import (
    bench,
    board,
    bundle,
    cache,
    check_method,
    checkpoint,
    compare,
    completion,
    cost,
    data,
    demo,
    doctor,
    explain,
    grid,
    manifest,
    new,
    predict,
    regress,
    report,
    reproduce,
    start,
    table,
    weights,
)  # fmt: skip
from fsbench.cli import (
    list as listing,
)
from fsbench.cli.parser import Parser, build_parser, set_verbosity
from fsbench.errors import GOES_ON, FsbenchError, SettingsError, SeveralErrors, describe, user_message
from fsbench.paths import cache_size
from fsbench.progress import shows_bar
from fsbench.terminal import print_block, print_error, print_line

GROUPS = {
    "begin": (start, doctor, completion),
    "extend": (new, check_method),
    "run": (bench, grid, reproduce, regress),
    "look at results": (table, compare, explain, report, cost, listing),
    "share results": (bundle, board),
    "data and weights": (data, weights, checkpoint, cache),
    "episode lists": (manifest,),
    "your own images": (predict, demo),
}
"""Modules of subcommands, by the groups and in the order of `fsbench --help`."""

COMMANDS = tuple(module for modules in GROUPS.values() for module in modules)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0, 1 (some of the work failed), 2 (the work could not be done, for the reason that one line
        says), 130 (interrupted), 141 (who read the output closed it).
    """
    # Before torch is imported: its threads spin for milliseconds while they wait, which makes a busy machine crawl;
    # 1000 turns (some microseconds) cost nothing on a quiet one.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        status = _main(argv)
        if sys.stdout is not None:  # as it is where the shell closed it
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # as `fsbench list | head` ends
        _silence_closed_outputs()
        return 141
    except SystemExit:  # help was printed, or a refusal
        _silence_closed_outputs()
        raise


def _silence_closed_outputs() -> None:
    """Let nobody read what an output still holds whose reader has gone: Python's last flush would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _main(argv: Sequence[str] | None) -> int:
    parser = _parser()
    completion.answer_shell(parser)
    try:
        options, extra = parser.parse_known_args(argv)
        cache_size()  # a variable that is wrong is refused before anything starts
        if options.command is None:
            if extra:
                parser.error(f"unrecognized arguments: {' '.join(extra)}")
            parser.print_help()
            return 0
        if extra and options.command not in ("bench", "run"):
            parser.refuse(extra, options)
        set_verbosity(options)
    except SettingsError as error:
        print_error(str(error))
        return 2
    options.debug = options.debug or os.environ.get("FSBENCH_TRACEBACK", "0") not in ("", "0")
    try:
        return int(options.function(options, extra))
    except BrokenPipeError:
        raise
    except Exception as error:
        if options.debug:
            raise
        if isinstance(error, FsbenchError) and error.is_told:
            return 2
        if options.command == "run" and shows_bar():
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


def _parser() -> Parser:
    return build_parser(GROUPS)
