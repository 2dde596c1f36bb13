"""Subcommand `fsbench weights`: list, fetch and check published weight files; convert checkpoints."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import CheckpointError, FsbenchError, SettingsError, user_message
from fsbench.base.terminal import print_block, print_line
from fsbench.cli.options import add_download_options
from fsbench.runner.config.limits import check_output_file, existing_folder

if TYPE_CHECKING:
    from fsbench.networks.weights.table import CheckpointSet, WeightFile


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)

    listing = actions.add_parser("list", help="every weight file that methods name: size, licence, whether it is here")
    listing.add_argument("--json", action="store_true", help="print all that is known, as JSON")
    listing.set_defaults(function=_list)

    fetch = actions.add_parser("fetch", help="bring weight files into the folder of weights")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="a name of `fsbench weights list`")
    fetch.add_argument("--method", metavar="M[,M]", help="what these methods need")
    fetch.add_argument("--accept-licence", action="store_true", help="accept the licences that are shown")
    add_download_options(fetch, "URL/<file>")
    fetch.set_defaults(function=_fetch)

    check = actions.add_parser("check", help="whether the files that are here are the published ones and load")
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all; a missing one counts only if named")
    check.add_argument("--quick", action="store_true", help="do not load them: size and checksum only")
    check.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    check.set_defaults(function=_check)

    convert = actions.add_parser("convert", help="a checkpoint from the authors' form to ours, or from ours to theirs")
    convert.add_argument("source", type=Path, help="checkpoint in either form")
    convert.add_argument("target", type=Path, help="file to write, in the other form")
    convert.add_argument("--backbone", type=Path, help="backbone weights to put into an authors' checkpoint")
    convert.set_defaults(function=_convert)


def _entries() -> "dict[str, tuple[WeightFile | CheckpointSet, list[str]]]":
    """Return all entries of the table with the methods that use them."""
    # 0.2 seconds for pydantic, which other commands are spared
    from fsbench.networks.weights.table import checkpoint_sets, weight_files
    from fsbench.runner.config.needs import methods_by_weights

    used = methods_by_weights()
    files = {name: (file, used[name]) for name, file in weight_files().items()}
    return {**files, **{name: (entry, entry.methods) for name, entry in checkpoint_sets().items()}}


def _list(options: argparse.Namespace, extra: list[str]) -> int:
    """Print the table of weights."""
    # spared until it is needed, as above
    from fsbench.base.paths import weights_folder
    from fsbench.networks.weights.table import CheckpointSet, availability, entry_as_json

    entries = _entries()
    if options.json:
        print_block(json.dumps([entry_as_json(name, entry, used) for name, (entry, used) in entries.items()], indent=1))
        return 0
    rows = [("name", "size", "licence", "state", "used by")]
    for name, (entry, used) in entries.items():
        stated = ("not stated", "not stated")
        if not isinstance(entry, CheckpointSet):
            stated = (entry.size_in_words, entry.licence or "not stated")
        rows.append((name, *stated, availability(entry), _shorten(used, 38)))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print_line("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip())
    print_line()
    print_line(
        f"the folder of weights is {weights_folder()}; fetch NAME brings a file there, or says what to do by hand"
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
    # spared until it is needed, as above
    from fsbench.base.download import RetryPolicy
    from fsbench.networks.weights.fetch import Fetcher
    from fsbench.networks.weights.table import find
    from fsbench.runner.config.backbone_choice import needed_weights

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

    def accept(file: "WeightFile") -> bool:
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


def _check(options: argparse.Namespace, extra: list[str]) -> int:
    """Print the verdict on each file; 1 if one is damaged, or named and not here."""
    # spared until it is needed, as above
    from fsbench.networks.weights.table import CheckpointSet, file_state, find, short_path

    entries = _entries()
    known = {id(entry): name for name, (entry, _) in entries.items()}
    chosen = [known[id(find(name))] for name in options.names] or list(entries)
    verdicts: list[dict[str, Any]] = []
    for name in chosen:
        entry = entries[name][0]
        if isinstance(entry, CheckpointSet):
            verdicts += _check_checkpoints(name, entry, named=bool(options.names), load=not options.quick)
            continue
        state = file_state(entry)
        verdict, problem = str(state.verdict), state.problem
        if state.usable and not options.quick:
            problem = _load_problem(name, entry.path)
            verdict = "does not load" if problem else verdict
        left = state.leftovers if state.verdict != "incomplete" else []
        path = short_path(entry.path)
        verdicts.append({"name": name, "file": path, "verdict": verdict, "problem": problem, "leftovers": left})
    failed = [v for v in verdicts if v["verdict"] in ("damaged", "does not load")]
    absent = [v for v in verdicts if v["verdict"] in ("missing", "incomplete")]
    if options.json:
        print_block(json.dumps(verdicts, indent=1))
    else:
        _print_verdicts(verdicts, all_named=bool(options.names))
    return 1 if failed or (options.names and absent) else 0


def _print_verdicts(verdicts: list[dict[str, Any]], all_named: bool) -> None:
    """Print a line for each file that is here, in part, or was asked for, and one that counts the rest."""
    absent = [v["name"] for v in verdicts if v["verdict"] == "missing" and not v["leftovers"]]
    for verdict in verdicts:
        if all_named or verdict["name"] not in absent:
            print_line(f"{verdict['name']}: {verdict['verdict']}  {verdict['file']}")
            for line in [verdict["problem"], *(f"beside it: {name}" for name in verdict["leftovers"])]:
                if line:
                    print_line(f"  {line}")
    if absent and not all_named:
        print_line(f"not here: {len(absent)} of {len(verdicts)} (fsbench weights list)")


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


def _check_checkpoints(name: str, entry: "CheckpointSet", named: bool, load: bool) -> list[dict[str, Any]]:
    """Return the verdicts on the authors' checkpoints that are here; `named`: their absence is said as well."""
    # spared until it is needed, as above
    from fsbench.networks.weights.table import short_path

    present = entry.present()
    if not present:
        absent = {"name": name, "file": short_path(entry.path), "verdict": "missing", "problem": entry.by_hand}
        return [{**absent, "leftovers": []}] if named else []
    verdicts = []
    for path in present:
        problem = _checkpoint_problem(path) if load else ""
        verdict = "does not load" if problem else "unverified"
        verdicts.append(
            {"name": name, "file": short_path(path), "verdict": verdict, "problem": problem, "leftovers": []}
        )
    return verdicts


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
