"""Subcommand `fsbench weights`: list, fetch and check published weight files; convert checkpoints."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fsbench.base.download import RetryPolicy
from fsbench.base.errors import CheckpointError, FsbenchError, SettingsError, user_message
from fsbench.base.paths import weights_folder
from fsbench.base.terminal import print_block, print_line
from fsbench.cli.options import add_download_options
from fsbench.networks.weights.fetch import Fetcher
from fsbench.networks.weights.table import (
    CheckpointSet,
    WeightFile,
    availability,
    checkpoint_sets,
    file_state,
    find,
    short_path,
    weight_files,
)
from fsbench.runner.config.backbone_choice import needed_weights
from fsbench.runner.config.limits import check_output_file, existing_folder
from fsbench.runner.config.needs import methods_by_weights


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)

    listing = actions.add_parser(
        "list", help="list every weight file that methods use: its size, its licence, and whether it is here"
    )
    listing.set_defaults(function=_list)

    fetch = actions.add_parser("fetch", help="download weight files into the folder of weights")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="a name of `fsbench weights list`")
    fetch.add_argument("--method", metavar="M[,M]", help="fetch what these methods need")
    fetch.add_argument("--accept-licence", action="store_true", help="accept the licences that are shown")
    add_download_options(fetch, "URL/<file>")
    fetch.set_defaults(function=_fetch)

    check = actions.add_parser(
        "check", help="check that the weight files here are the published ones and can be loaded"
    )
    check.add_argument(
        "names", nargs="*", metavar="NAME", help="names (default: all; a missing file is an error only if it is named)"
    )
    check.add_argument("--quick", action="store_true", help="check only size and checksum, and do not load the files")
    check.set_defaults(function=_check)

    convert = actions.add_parser(
        "convert", help="convert a checkpoint from the authors' format to ours, or from ours to theirs"
    )
    convert.add_argument("source", type=Path, help="checkpoint in either format")
    convert.add_argument("target", type=Path, help="file to write, in the other format")
    convert.add_argument("--backbone", type=Path, help="backbone weights to put into an authors' checkpoint")
    convert.set_defaults(function=_convert)


def _entries() -> dict[str, tuple[WeightFile | CheckpointSet, list[str]]]:
    """Return all entries of the table with the methods that use them."""
    used = methods_by_weights()
    files = {name: (file, used[name]) for name, file in weight_files().items()}
    return {**files, **{name: (entry, entry.methods) for name, entry in checkpoint_sets().items()}}


def _list(options: argparse.Namespace, extra: list[str]) -> int:
    """Print the table of weights."""
    # other actions spare it
    from fsbench.results.sheets.text import table_lines
    from fsbench.results.table import Cell, Column, Line, Table

    lines = []
    for name, (entry, used) in _entries().items():
        stated = ("not stated", "not stated")
        if not isinstance(entry, CheckpointSet):
            stated = (entry.size_in_words, entry.licence or "not stated")
        lines.append(Line([*map(Cell, (name, *stated, availability(entry), _shorten(used, 31)))]))
    table = Table([*map(Column, ("name", "size", "licence", "state", "used by"))], lines)
    print_block("\n".join([*table_lines(table, rule=False), ""]))
    print_line(
        f"the folder of weights is {weights_folder()}; fsbench weights fetch NAME downloads a file to it, "
        "or says how to get the file by hand"
    )
    return 0


def _shorten(names: list[str], width: int) -> str:
    """Join names with commas, leaving the last ones out where they are too many."""
    if not names:
        return "on request (BACKBONE=)"
    text, shown = ", ".join(names), len(names)
    while len(text) > width and shown > 1:
        shown -= 1
        text = f"{', '.join(names[:shown])} +{len(names) - shown}"
    return text


def _fetch(options: argparse.Namespace, extra: list[str]) -> int:
    """Bring the named weights; goes on with the next where one cannot be had. 0 if all are there afterwards."""
    source = existing_folder(options.source, "--from")
    methods = options.method.split(",") if options.method else []
    needed = {method: needed_weights(method) for method in methods}
    for method in (method for method, name in needed.items() if name is None):
        print_line(f"{method} needs no published weights")
    names = list(dict.fromkeys([*options.names, *(name for name in needed.values() if name)]))
    if not names and not options.method:
        raise SettingsError("nothing to fetch was named; expected names of `fsbench weights list`, or --method METHOD")
    for name in names:
        find(name)  # a wrong name is said before anything is fetched

    def accept(file: WeightFile) -> bool:
        print_line(
            f"{file.name} comes under the licence {file.licence or '(not stated)'}: {file.licence_page or file.page}"
        )
        if options.accept_licence or not sys.stdin.isatty():
            return bool(options.accept_licence)
        return input("Do you accept it? [y/N] ").strip().lower() in ("y", "yes")

    retry = RetryPolicy(options.timeout, options.retries, options.backoff)
    fetcher = Fetcher(accept, source, options.url_base, retry, print_line)
    failures = []
    for name in names:
        try:
            fetcher.fetch(name)
        except FsbenchError as error:
            failures.append(user_message(error))
    for message in failures:
        print_block(f"fsbench: error: {message}", sys.stderr)
    return 2 if failures else 0


class Verdict(NamedTuple):
    """Result of checking a weights file: its name and path, its state in a word, the problem, and leftover files."""

    name: str
    file: str
    verdict: str
    problem: str = ""
    leftovers: Sequence[str] = ()


def _check(options: argparse.Namespace, extra: list[str]) -> int:
    """Print the verdict on each file that is here or was named; 1 if one is damaged, or named and not here."""
    entries = _entries()
    known = {id(entry): name for name, (entry, _) in entries.items()}
    chosen = [known[id(find(name))] for name in options.names] or list(entries)
    verdicts = [one for name in chosen for one in _verdicts(name, entries[name][0], load=not options.quick)]
    absent = [one for one in verdicts if one.verdict == "missing" and not one.leftovers]
    for one in verdicts:
        if options.names or one not in absent:
            print_line(f"{one.name}: {one.verdict}  {one.file}")
            for line in filter(None, [one.problem, *(f"beside it: {name}" for name in one.leftovers)]):
                print_line(f"  {line}")
    if absent and not options.names:
        print_line(f"not here: {len(absent)} of {len(verdicts)} (fsbench weights list)")
    failing = {"damaged", "does not load"} | ({"missing", "incomplete"} if options.names else set())
    return int(any(one.verdict in failing for one in verdicts))


def _verdicts(name: str, entry: WeightFile | CheckpointSet, load: bool) -> list[Verdict]:
    """Return the verdict on a weight file, or one on each of the authors' checkpoints that are here."""
    if isinstance(entry, CheckpointSet):
        problems = {path: _checkpoint_problem(path) if load else "" for path in entry.present()}
        return [
            Verdict(name, short_path(path), "does not load" if problem else "unverified", problem)
            for path, problem in problems.items()
        ] or [Verdict(name, short_path(entry.path), "missing", entry.by_hand)]
    state = file_state(entry)
    verdict, problem = str(state.verdict), state.problem
    if state.usable and load and (problem := _load_problem(name, entry.path)):
        verdict = "does not load"
    return [Verdict(name, short_path(entry.path), verdict, problem, state.leftovers if verdict != "incomplete" else [])]


def _load_problem(name: str, path: Path) -> str:
    """Return why the weights at `path` cannot be used for the backbone `name`, empty if they can.

    Only tensors are ever unpickled. The backbone is built by the first kind of method that knows it.
    """
    # torch and all methods: seconds, needed only where a file is here
    from fsbench.networks.backbones.base import BackboneConfig
    from fsbench.runner.config.registry import method_classes

    for method in method_classes().values():
        try:
            if method.backbone_type(BackboneConfig(name, str(path))).state:  # a method without a network takes any name
                return ""
        except SettingsError:  # this kind of method takes other backbones
            continue
        except CheckpointError as error:
            return user_message(error)
    return ""


def _checkpoint_problem(path: Path) -> str:
    """Return why the checkpoint `path` cannot be read, empty if it can; only tensors and plain values are unpickled."""
    # torch: seconds
    from fsbench.networks.weights.files import read_checkpoint

    try:
        read_checkpoint(path)
    except CheckpointError as error:
        return user_message(error)
    return ""


def _convert(options: argparse.Namespace, extra: list[str]) -> int:
    """Write a checkpoint in the other form."""
    check_output_file(options.target, "the target")
    # torch and all methods: seconds, which help and refused options do without
    from fsbench.runner.config.registry import method_classes
    from fsbench.runner.engine.checkpoint import convert

    forms = {name: method.released_format for name, method in method_classes().items()}
    direction = convert(options.source, options.target, options.backbone, forms)
    print_line(f"{options.target}: {direction}")
    return 0
