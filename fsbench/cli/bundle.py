"""`fsbench bundle`: results in one file that others can check."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import RecordError, SettingsError
from fsbench.base.files import make_folder, write_text
from fsbench.base.terminal import print_line
from fsbench.base.version import __version__
from fsbench.records.card import CHOICES
from fsbench.records.predictions import FILE as PREDICTIONS
from fsbench.records.record import Record, find_distinct_records
from fsbench.runner.config.limits import check_output_file, check_replaced
from fsbench.runner.exchange.bundle import bundle_commands, read_listing, write_bundle
from fsbench.runner.exchange.cards import new_cards, read_cards


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs")
    parser.add_argument("-o", "--out", type=Path, help="file to write, such as results.fsb")
    parser.add_argument(
        "--card", action="append", default=[], metavar="[METHOD=]FILE",
        help="YAML file that says how a method was trained and chosen (--new-card writes one to fill in); one for each "
        "method, or a folder of such files",
    )  # fmt: skip
    parser.add_argument("--licence", default="CC-BY-4.0", help="licence of the results (default: CC-BY-4.0)")
    parser.add_argument(
        "--new-card", type=Path, metavar="FILE",
        help="only write a card to fill in; for RUNS of several methods, write a folder with a card for each",
    )  # fmt: skip
    parser.add_argument(
        "--predictions",
        action="store_true",
        help="include the predictions that the runs kept (default: leave them out)",
    )
    parser.set_defaults(function=_bundle)


def _bundle(options: argparse.Namespace, extra: list[str]) -> int:
    if options.new_card is not None:
        return _write_new_card(options.new_card, _find_records(options.runs) if options.runs else [])
    needed = {"runs": options.runs, "--card": options.card, "-o": options.out}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        commands = bundle_commands(options.runs, str(options.out or "results.fsb"), options.card)
        raise SettingsError(
            f"bundle lacks {', '.join(missing)}; expected runs, a card that says how the method was trained and "
            f"chosen, and a file to write:\n{commands}"
        )
    check_output_file(options.out, "-o")
    check_replaced(options.out, "-o", "bundle", read_listing)
    if not 0 < len(options.licence) <= 200 or not options.licence.isprintable():
        raise SettingsError(
            "--licence is empty, longer than 200 characters or has control characters, expected a name like CC-BY-4.0"
        )
    records = _find_records(options.runs)
    cards = read_cards(options.card, sorted({record.run.identity.method.name for record in records}))
    made_by = f"fsbench {__version__}"
    names = write_bundle(records, cards, options.licence, made_by, options.out, options.predictions)
    kept = sum((record.path / PREDICTIONS).is_file() for record in records) if options.predictions else 0
    holds = f"{len(names)} runs, {kept or 'none'} with predictions"
    print_line(f"{options.out}: {holds}; check it with: fsbench verify {options.out}")
    return 0


def _find_records(folders: Sequence[Path]) -> list[Record]:
    records = find_distinct_records(folders)
    if not records:
        raise RecordError(f"no finished run in {', '.join(map(str, folders))}; make one with: make bench")
    return records


def _write_new_card(place: Path, records: Sequence[Record]) -> int:
    """Write a card to fill in, or of several methods a folder with one for each."""
    check_output_file(place, "--new-card")
    if place.exists():
        raise SettingsError(f"{place} exists already; expected a new file; choose another name")
    cards = new_cards(records)
    if len(cards) > 1:
        make_folder(place)
        for name, text in cards.items():
            write_text(place / name, text)
    else:
        write_text(place, next(iter(cards.values()), CHOICES))
    words = "them" if len(cards) > 1 else "it"
    print_line(f"fill {words} in, then: fsbench bundle RUNS --card {place} -o results.fsb")
    return 0
