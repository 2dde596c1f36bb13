"""The `fsbench` command: finds the subcommand, imports its module alone, and prints errors in one line."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from fsbench.base.environment import check_environment, without_home
from fsbench.base.errors import SettingsError, exit_status
from fsbench.base.paths import cache_size
from fsbench.base.terminal import escape_in_streams, one_command, print_error, start_in_utf8
from fsbench.cli.parser import CommandLine, check_words, set_verbosity

GROUPS = {
    "train and evaluate": {
        "bench": "train and evaluate methods, or one experiment of --config",
        "grid": "show which runs of a grid are missing and run them",
        "reproduce": "show what a paper's tables need, run them, compare the figures",
        "regress": "check every method's predictions against accepted ones",
        "check-method": "check that a method keeps the contract of methods",
    },
    "score other programs": {
        "kit": "write the episodes of a test for any program to answer",
        "score": "score the answers of any program to a test",
    },
    "look at results": {
        "table": "print finished runs: scores, other rules, by shots or draws",
        "compare": "test which methods differ, or whether runs changed",
        "report": "make pages of finished runs, or a leaderboard of bundles",
        "explain": "draw what finished runs predicted and attended to",
        "atlas": "compare published figures of two methods, or write the page",
        "list": "list methods, data, protocols, metrics, and what is here",
    },
    "share results": {
        "bundle": "put finished runs into one file that others can check",
        "verify": "check a bundle: hashes, scores, episodes, some predictions",
    },
    "data and weights": {
        "data": "prepare or check a data set; write or compare episode lists",
        "weights": "list, fetch or check weight files; convert checkpoints",
    },
    "your own images": {
        "predict": "segment your own images from a few labelled ones",
        "export": "write a method with its examples to one file that runs anywhere",
        "demo": "serve a page on which you try a method on your photos",
    },
}
"""Lines of `fsbench --help`. The module of a subcommand has its name, and a function `add_options`."""

SMALL_PRODUCTS = ("table", "compare", "report", "reproduce")
"""Subcommands whose products of matrices are small, so that more threads wait longer than they compute."""

COMPUTE_NOTHING = (None, *GROUPS["look at results"], "bundle")
"""Subcommands whose figures no variable of the environment changes: they read what runs have left."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `fsbench` command with the arguments `argv` (default: those of the process).

    Returns:
        The exit status: 0; 1 if some of the work failed; 2 if the work could not be done, for a reason that one line on
        stderr gives; 130 if interrupted; 141 if the reader of a pipe closed it.
    """
    escape_in_streams()
    if argv is None:
        start_in_utf8()
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
    words = list(sys.argv[1:] if argv is None else argv)
    parser = parser_for(words)
    try:
        check_words(words)
        options, extra = parser.parse_known_args(words)
        cache_size()  # a variable that is wrong is refused before anything starts
        if options.command not in COMPUTE_NOTHING:
            check_environment()
        if options.command is None:
            if extra:
                parser.error(f"unrecognized arguments: {' '.join(extra)}")
            parser.print_help()
            return 0
        if extra and options.command != "bench":
            parser.refuse(extra, options)
        set_verbosity(options)
    except SettingsError as error:
        print_error(str(error))
        return 2
    options.words = words
    options.debug = options.debug or os.environ.get("FSBENCH_TRACEBACK", "0") not in ("", "0")
    resumes = options.command in ("bench", "predict") or getattr(options, "run", False) is True
    resumes = resumes or getattr(options, "action", "") in ("prepare", "fetch")
    work = partial(options.function, options, extra)
    with one_command(), without_home():
        return exit_status(work, options.debug, resumes=resumes)


def parser_for(words: Sequence[str]) -> CommandLine:
    """Return the parser of `fsbench` with the options of the subcommand in `words`; imports only its module."""
    parser = CommandLine(GROUPS)
    name = next((word for word in words if not word.startswith("-")), "")
    if any(name in group for group in GROUPS.values()):
        if name in SMALL_PRODUCTS:
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported
        parser.add_command(name, import_module(f"fsbench.cli.{name.replace('-', '_')}").add_options)
    return parser
