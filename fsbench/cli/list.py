"""`fsbench list`: names of methods, data sets, backbones, protocols and metrics, and whether a run can be made here."""

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.files.cache import cache_entries, clean_cache
from fsbench.base.files.opening import in_units
from fsbench.base.paths import cache_folder
from fsbench.base.terminal import print_block, print_error, print_line, text_width
from fsbench.protocols.reading import ATLAS, known_metrics, load_protocol, protocol_names
from fsbench.runner.config.limits import real
from fsbench.runner.config.registry import aliases, methods_by_protocol, names, names_by_task

if TYPE_CHECKING:
    from fsbench.runner.here import Finding


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
    _add_here(parts.add_parser("here", help="whether a run can be made here, and what it lacks"))


def _list(options: argparse.Namespace, extra: list[str]) -> int:
    """Print one part, or the names of all; what other packages have broken comes last."""
    parts = [options.action] if options.action else ["methods", "data", "backbones", "protocols", "metrics"]
    problems: list[str] = []
    for part in parts:
        for title, lines in _names_of(part, problems):
            print_line(f"{title}:")
            for name, line in lines.items():
                print_line(f"  {name:16} {line}")
    for problem in problems:
        print_error(problem)
    return 2 if problems else 0


def _names_of(part: str, problems: list[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the names of a part with a line about each, under their titles; what is broken joins `problems`."""
    if part in ("methods", "data"):
        by_task, broken = names_by_task(part)
        problems += broken
        for task, known in by_task.items():
            yield f"{task}, {'methods' if part == 'methods' else 'data sets'}", known
            if part == "methods":
                chosen = {alias: choice for alias, choice in aliases().items() if choice.method in known}
                words = {
                    name: f"{choice.method} with the backbone {choice.backbone}" for name, choice in chosen.items()
                }
                yield f"{task}, aliases", words
    elif part == "backbones":
        yield "backbones (--backbone …)", names("backbones")
    elif part == "protocols":
        row = {f"{ATLAS}<test>": f"the test of a published program (see: fsbench list protocols {ATLAS})"}
        yield "protocols (of segmentation; classification has one, fort)", {**names("protocols"), **row}
    else:
        meanings = {name: metric.meaning for name, metric in known_metrics().items()}
        yield "metrics (fsbench table --metrics …)", meanings


def _add_protocols(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"show these in detail, side by side; default: a line for each. {ATLAS}<row> is a row of the atlas "
        f"with the evidence of its conditions, and {ATLAS} lists the rows",
    )
    parser.add_argument("--format", choices=("text", "markdown"), default="text")
    parser.set_defaults(function=_protocols)


def _protocols(options: argparse.Namespace, extra: list[str]) -> int:
    # names alone are spared the tables
    from fsbench.results.tables.protocol_text import as_markdown, one_line_each, side_by_side

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
    if not options.names:
        print_block(one_line_each(protocols, methods_by_protocol(), width))
        return 0
    print_block(side_by_side(protocols, width))
    for protocol in protocols:
        if protocol.name.startswith(ATLAS):
            print_line("")
            print_block("\n".join(_evidence(protocol.name, width)))
    return 0


def _list_rows(width: int) -> Iterator[str]:
    """Yield the published tests in lines: those that are protocols, then the others with the reason."""
    # most uses of the command are spared the atlas
    from fsbench.protocols.published_tests import programs_of, test_names, why_not_run

    runnable = test_names()
    yield f"{len(runnable)} published tests can be run:"
    for name in runnable:
        spirit = "   (in spirit only)" if load_protocol(name).in_spirit else ""
        others = [one.method for one in programs_of(name)][1:]
        also = f"   (also {', '.join(others)})" if others else ""
        yield from textwrap.wrap(
            f"{name}{spirit}{also}", width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
        )
    refused = why_not_run()
    yield ""
    yield f"{len(refused)} cannot:"
    for key, reason in refused.items():
        why = reason.partition(" cannot be run: ")[2]
        yield from textwrap.wrap(
            f"{ATLAS}{key}: {why}", width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
        )


def _evidence(name: str, width: int) -> Iterator[str]:
    """Yield the conditions of a published test, their meanings, and where in the programs' sources they were read."""
    # most uses of the command are spared the atlas
    from fsbench.protocols.conditions import CONDITIONS
    from fsbench.protocols.published_tests import programs_of
    from fsbench.results.sheets.text import wrapped_row

    for row in programs_of(name):
        yield f"{row.id}: {row.program} of {row.repository} at {row.commit}, {row.certainty}"
        yield ""
        for key, one in CONDITIONS.items():
            places = ", ".join(row.places.get(key, ()))
            if not places and (source := row.absence(key)):
                places = f"follows from {source}"
            text = one.explained(row.conditions[key]) + (f" [{places}]" if places else "")
            yield from wrapped_row(one.label, [text], 31, max(width - 34, 40))
        if row.quirks:
            yield from wrapped_row("besides", [row.quirks], 31, max(width - 34, 40))
        yield ""


def _add_here(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit status: 1 if what was asked for cannot be run here, or if a check of this machine failed."
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="methods, data sets and backbones of a run (default: check this machine)",
    )
    parser.add_argument(
        "--all", action="store_true", help="show everything that was checked, also devices and the cache"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder to which runs will be written")
    parser.add_argument(
        "--data-root", action="append", default=[], metavar="DATASET=DIR", help="folder of a data set; may be repeated"
    )
    parser.add_argument(
        "--clean",
        nargs="*",
        metavar="KIND",
        help="only remove these kinds of files from the cache (default: all kinds); they are made again when needed",
    )
    parser.add_argument(
        "--older-than",
        type=real(0, 36500),
        metavar="DAYS",
        help="with --clean: remove only what was not used for so many days",
    )
    parser.set_defaults(function=_here)


def _here(options: argparse.Namespace, extra: list[str]) -> int:
    if options.clean is not None:
        return _clean(options.clean, options.older_than or 0.0)
    if options.older_than is not None:
        raise SettingsError("--older-than was given without --clean; expected both, or neither")
    from fsbench.cli.options import data_roots
    from fsbench.runner import here  # names alone are spared it

    roots = data_roots(options)
    machine = list(here.machine(options.runs))
    lacks = [*here.lacking(options.names, roots), *(finding for finding in machine if finding.verdict == "failed")]
    parts = {"asked": lacks} if options.names else {"machine": machine}
    if options.all:
        parts |= {
            "machine": machine,
            "devices": list(here.devices()),
            "software": list(here.software()),
            "data": list(here.data(roots)),
            "weights": list(here.weights()),
            "cache": list(here.cache_findings()),
        }
        lacks += [finding for finding in parts["devices"] if finding.verdict == "failed"]
    if options.json:
        listed = {part: [asdict(finding) for finding in findings] for part, findings in parts.items()}
        print_block(json.dumps({"ready": not lacks, **listed}, indent=1))
        return 1 if lacks else 0
    asked = " ".join(options.names)
    things = f"{len(lacks)} thing{'s' * (len(lacks) != 1)}"
    print_line(f"not ready: {asked or 'this machine'} lacks {things}" if lacks else f"ready: {asked or 'the demo'}")
    _print_findings(lacks)
    if options.all:
        for part, findings in parts.items():
            if part != "asked":
                print_line(f"{part}:")
                _print_findings(findings, verdicts=True, advice=part not in ("data", "weights"))
    elif not asked:
        _print_block("data", here.data(roots), "fsbench list here NAME says how to get one")
        _print_block("weights", here.weights(), "fsbench weights list")
        gpu = "found (--all shows whether torch can use it)" if here.has_gpu() else "none found"
        print_line(f"  GPU: {gpu}")
        print_line("For a run: fsbench list here METHOD DATASET. Everything: fsbench list here --all")
    elif not here.has_gpu() and here.lasts_long(options.names):
        print_line("  note: no GPU was found, and training on the CPU takes days")
    return 1 if lacks else 0


def _print_block(part: str, findings: Iterable["Finding"], advice: str) -> None:
    """Print which things of a part are here, and how many are not."""
    listed = list(findings)
    present = [finding.thing.removeprefix(f"{part} ") for finding in listed if finding.verdict == "ok"]
    others = len(listed) - len(present)
    _print_wrapped(f"  {part}: {', '.join(present) or 'none'}" + f"; {others} absent ({advice})" * bool(others))


def _print_findings(findings: Iterable["Finding"], verdicts: bool = False, advice: bool = True) -> None:
    """Print findings, each with what helps on a line of its own."""
    for finding in findings:
        verdict = f"{finding.verdict:7} " * verdicts
        _print_wrapped(f"  {verdict}{finding.thing}: {finding.found}")
        if advice and finding.advice:
            print_line(f"    {finding.advice}")


def _print_wrapped(line: str) -> None:
    """Print a line, on a screen wrapped to its width."""
    width, wraps = text_width()
    wrapped = textwrap.wrap(line, width, subsequent_indent=6 * " ", break_on_hyphens=False, break_long_words=False)
    print_block("\n".join(wrapped if wraps else [line]))


def _clean(kinds: list[str], days: float) -> int:
    """Remove the cache's entries of some kinds, or of all, that were not used for so many days."""
    folder = cache_folder()
    known = sorted({entry.kind for entry in cache_entries()})
    for kind in kinds:
        if known and kind not in known:
            raise SettingsError(f"{folder} has nothing of the kind '{kind}'{known_names(kind, known)}")
    removed = clean_cache(kinds, days)
    files = sum(len(entry.files) for entry in removed)
    size = in_units(sum(entry.size for entry in removed))
    print_line(f"{folder}: removed {files} file{'s' * (files != 1)}, {size}")
    return 0
