"""`fsbench list`: names of methods, data sets, backbones, protocols and metrics, and what this machine has."""

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from fsbench.base.errors import SettingsError, known_names, missing_package
from fsbench.base.files.cache import suite_cache
from fsbench.base.files.opening import in_units
from fsbench.base.terminal import print_block, print_error, print_line
from fsbench.protocols.reading import ATLAS, known_metrics, load_protocol, protocol_names
from fsbench.runner.config.limits import real
from fsbench.runner.config.registry import aliases, check_known, names, names_by_task
from fsbench.runner.here.finding import Finding


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(function=_list)
    parts = parser.add_subparsers(dest="action", metavar="PART")
    for part, text in (
        ("methods", "methods, and aliases with another backbone"),
        ("data", "data sets"),
        ("backbones", "frozen networks"),
        ("metrics", "scores of tables"),
    ):
        parts.add_parser(part, help=text).set_defaults(function=_list)
    _add_protocols(parts.add_parser("protocols", help="protocols side by side, and what their choices entail"))
    _add_here(parts.add_parser("here", help="what this machine has: programs, devices, room, data, weights, cache"))


def _list(options: argparse.Namespace, extra: list[str]) -> int:
    """Print one part, or the names of all; what other packages have broken comes last."""
    parts = {
        "methods": _print_methods,
        "data": _print_data,
        "backbones": _print_backbones,
        "protocols": _print_protocols,
        "metrics": _print_metrics,
    }
    chosen = [parts[options.action]] if options.action else parts.values()
    problems = [problem for print_part in chosen for problem in print_part()]
    for problem in problems:
        print_error(problem)
    return 2 if problems else 0


def _print_methods() -> list[str]:
    methods, problems = names_by_task("methods")
    for task, known in methods.items():
        _print_names(f"{task}, methods", known)
        chosen = {alias: choice for alias, choice in aliases().items() if choice.method in known}
        words = {alias: f"{choice.method} with the backbone {choice.backbone}" for alias, choice in chosen.items()}
        _print_names(f"{task}, aliases", words)
    return problems


def _print_data() -> list[str]:
    data, problems = names_by_task("data")
    for task, known in data.items():
        _print_names(f"{task}, data sets", known)
    return problems


def _print_backbones() -> list[str]:
    _print_names("backbones (--backbone …)", names("backbones"))
    return []


def _print_protocols() -> list[str]:
    row = {f"{ATLAS}<row>": f"the test of a published program (see: fsbench list protocols {ATLAS})"}
    _print_names("protocols (of segmentation; classification has one, fort)", {**names("protocols"), **row})
    return []


def _print_metrics() -> list[str]:
    meanings = {name: metric.meaning for name, metric in known_metrics().items()}
    _print_names("metrics (fsbench table --metrics …)", meanings)
    return []


def _print_names(title: str, lines: Mapping[str, str]) -> None:
    print_line(f"{title}:")
    for name, line in lines.items():
        print_line(f"  {name:16} {line}")


def _add_protocols(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"only these; default: all of configs/protocols. {ATLAS}<row> is a row of the atlas with the evidence of "
        f"its conditions, and {ATLAS} lists the rows",
    )
    parser.add_argument("--format", choices=("text", "markdown"), default="text")
    parser.set_defaults(function=_protocols)


def _protocols(options: argparse.Namespace, extra: list[str]) -> int:
    # names alone are spared the tables
    from fsbench.results.tables.protocol_text import as_markdown, side_by_side

    width = shutil.get_terminal_size((140, 24)).columns
    if ATLAS in options.names:
        if len(options.names) > 1:
            raise SettingsError(f"{ATLAS} lists the rows of the atlas and takes no names beside it; leave them out")
        print_block("\n".join(_list_rows(width)))
        return 0
    protocols = [load_protocol(name) for name in options.names or protocol_names()]
    if options.format == "markdown":
        print_block(as_markdown(protocols))
        return 0
    print_block(side_by_side(protocols, width))
    for protocol in protocols:
        if protocol.name.startswith(ATLAS):
            print_line("")
            print_block("\n".join(_evidence(protocol.name, width)))
    return 0


def _list_rows(width: int) -> Iterator[str]:
    """Yield the rows of the atlas in lines: those that are protocols, then the others with the reason."""
    # most uses of the command are spared the atlas
    from fsbench.protocols.rows import row_names, why_not_run

    runnable = row_names()
    yield f"{len(runnable)} rows of the atlas can be run:"
    for name in runnable:
        spirit = load_protocol(name).in_spirit
        yield f"  {name}" + ("   (in spirit only)" if spirit else "")
    others = why_not_run()
    yield ""
    yield f"{len(others)} cannot:"
    for row, reason in others.items():
        why = reason.partition(" cannot be run: ")[2]
        yield from textwrap.wrap(
            f"{ATLAS}{row}: {why}", width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
        )


def _evidence(name: str, width: int) -> Iterator[str]:
    """Yield the conditions of a row, their meanings, and the places in the sources that they were read at."""
    # most uses of the command are spared the atlas
    from fsbench.protocols.rows import row_of
    from fsbench.results.atlas.vocabulary import meaning
    from fsbench.results.atlas.words import LABELS

    row = row_of(name)
    yield f"{name.partition('@')[0]}: {row.program} of {row.repository} at {row.commit}, {row.certainty}"
    yield ""
    for column, label in LABELS.items():
        value = getattr(row, column, None)
        if value is None:
            continue
        words = meaning(column, value)
        text = f"{value}{f': {words}' if words else ''}"
        places = ", ".join(row.places.get(column, ())) or (
            f"follows from {row.absence(column)}" if row.absence(column) else ""
        )
        first, *rest = textwrap.wrap(text + (f" [{places}]" if places else ""), max(width - 34, 40))
        yield f"{label:<32}  {first}"
        yield from (f"{'':<32}  {line}" for line in rest)
    if row.quirks:
        first, *rest = textwrap.wrap(row.quirks, max(width - 34, 40))
        yield f"{'besides':<32}  {first}"
        yield from (f"{'':<32}  {line}" for line in rest)


def _add_here(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit status: 1 if something is wrong. What is absent only some runs need."
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder where runs shall be written")
    parser.add_argument(
        "--data-root", action="append", default=[], metavar="DATASET=DIR", help="where a data set is; may be repeated"
    )
    parser.add_argument(
        "--clean",
        nargs="*",
        metavar="KIND",
        help="remove what the cache keeps of these kinds, or all of it, and do no more; it is made again when needed",
    )
    parser.add_argument(
        "--older-than",
        type=real(0, 36500),
        metavar="DAYS",
        help="with --clean: only what was not used for so long",
    )
    parser.set_defaults(function=_here)


def _here(options: argparse.Namespace, extra: list[str]) -> int:
    if options.clean is not None:
        return _clean(options.clean, options.older_than or 0.0)
    if options.older_than is not None:
        raise SettingsError("--older-than was given without --clean; expected both, or neither")
    roots = dict(_root(text) for text in options.data_root)
    findings = _findings(options.runs, roots)
    failed = sum(finding.verdict == "failed" for finding in findings)
    if options.json:
        print_block(json.dumps([asdict(finding) for finding in findings], indent=1))
        return 1 if failed else 0
    part = ""
    for finding in findings:
        if finding.part != part:
            part = finding.part
            print_line(f"{part}:")
        print_line(f"  {finding.verdict:12}{finding.name}: {finding.found}")
        if finding.advice:
            print_line(f"  {'':12}  → {finding.advice}")
    print_line(f"{failed} of {len(findings)} entries failed" if failed else f"{len(findings)} entries, none failed")
    return 1 if failed else 0


def _findings(runs: Path, roots: Mapping[str, str]) -> list[Finding]:
    # names alone are spared these
    from fsbench.runner.here.files import list_cache, list_data, list_weights
    from fsbench.runner.here.machine import list_environment, list_room, list_software

    return [
        *list_software(),
        *list_environment(),
        *_devices(),
        *list_room(runs),
        *list_data(roots),
        *list_weights(),
        *list_cache(suite_cache()),
    ]


def _devices() -> Iterator[Finding]:
    """Yield the devices; in the light installation, that torch is absent."""
    try:
        # heavy: torch, which other commands spare
        from fsbench.runner.here.devices import list_devices
    except ModuleNotFoundError as error:
        if not missing_package(error):
            raise
        words = f"{error.name} is not installed; only for: methods, trainings, masks of images"
        yield Finding("devices", "runs", "absent", words, "pip install 'fsbench[run]'")
        return
    yield from list_devices()


def _root(text: str) -> tuple[str, str]:
    """Split DATASET=DIR. Raises SettingsError for other text and for unknown data sets."""
    name, sign, folder = text.partition("=")
    if not (name and sign and folder):
        raise SettingsError(f"--data-root is '{text}', expected DATASET=DIR, e.g. coco=/data/coco")
    check_known("data", "data set", name)
    return name, folder


def _clean(kinds: list[str], days: float) -> int:
    """Remove the cache's entries of some kinds, or of all, that were not used for so many days."""
    cache = suite_cache()
    known = sorted({entry.kind for entry in cache.entries()})
    for kind in kinds:
        if known and kind not in known:
            raise SettingsError(f"{cache.folder} has nothing of the kind '{kind}'{known_names(kind, known)}")
    removed = cache.clean(kinds, days)
    files = sum(len(entry.files) for entry in removed)
    size = in_units(sum(entry.size for entry in removed))
    print_line(f"{cache.folder}: removed {files} file{'s' * (files != 1)}, {size}")
    return 0
