"""`fsbench compare --accepted`: hold the runs of a change against accepted ones, for the reader of a pull request."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.files.opening import is_folder
from fsbench.base.terminal import print_block, print_line
from fsbench.records.record import Record, find_distinct_records
from fsbench.results.comparison.accepted import Outcome, judge
from fsbench.runner.exchange.accepted import accept_runs

FAILS = {"worse": (Outcome.WORSE,), "changed": (Outcome.WORSE, Outcome.BETTER, Outcome.OPEN), "never": ()}
"""Outcomes with which the command ends with status 1, by the word of --fail-on."""


def add_accepted_options(parser: argparse.ArgumentParser) -> list[str]:
    """Add the options for comparing runs with accepted (reference) runs, and return their names in the namespace."""
    group = parser.add_argument_group("against accepted runs, for a pull request")
    group.add_argument(
        "--accepted", type=Path, metavar="FOLDER", help="folder of the accepted runs, as --accept writes it"
    )
    group.add_argument("--method", help="compare only the runs of this method")
    group.add_argument(
        "--accept",
        action="store_true",
        help="accept these runs; they replace the accepted runs of the same method and test",
    )
    group.add_argument(
        "--fail-on", choices=FAILS, default="worse", help="end with exit status 1 on this outcome (default: worse)"
    )
    group.add_argument("--summary", type=Path, metavar="FILE", help="append the verdict to this file as Markdown")
    return ["accepted", "method", "accept", "fail_on", "summary"]


def compare_with_accepted(options: argparse.Namespace) -> int:
    """Compare runs with the accepted (reference) runs of their method, or accept them; return the exit status."""
    now = _select_method(find_distinct_records(options.runs), options.method, options.runs)
    if options.accept:
        accept_runs(now, options.accepted, print_line)
        return 0
    place = options.accepted
    if not is_folder(place):
        raise SettingsError(
            f"there is no folder {place}; expected the folder of the accepted runs; make it with: fsbench compare RUNS "
            f"--accepted {place} --accept"
        )
    before = find_distinct_records([place])
    if not before:
        text = f"no run is accepted yet in {place}; accept some with: fsbench compare RUNS --accepted {place} --accept"
        _append(options.summary, text)
        print_line(text)
        return 1 if options.fail_on == "changed" else 0
    found = judge(now, _select_method(before, options.method or now[0].run.identity.method.name, [options.accepted]))
    _append(options.summary, found.write("markdown"))
    print_block(found.write("text"))
    return int(found.outcome in FAILS[options.fail_on])


def _select_method(records: Sequence[Record], name: str | None, folders: Sequence[Path]) -> list[Record]:
    """Return the runs of a method, or all; SettingsError if there are none."""
    chosen = [record for record in records if name in (None, record.run.identity.method.name)]
    if not chosen:
        names = sorted({record.run.identity.method.name for record in records})
        wanted = "finished run" if name is None else f"run of {name}"
        raise SettingsError(f"no {wanted} in {', '.join(map(str, folders))}{known_names(name or '', names)}")
    return chosen


def _append(file: Path | None, text: str) -> None:
    """Append a text to the summary of a job, which other steps write to as well."""
    if file is not None:
        with file.open("a", encoding="utf-8") as summary:
            summary.write(f"{text.rstrip()}\n\n")
