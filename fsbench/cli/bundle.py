"""`fsbench bundle`: results in one file that others can check."""

import argparse
from pathlib import Path

from fsbench.config.limits import check_output_file, check_replaced
from fsbench.errors import RecordError, SettingsError
from fsbench.exchange.bundle import read_listing, write_bundle
from fsbench.files import write_text
from fsbench.records.card import CHOICES, read_card
from fsbench.records.predictions import FILE as PREDICTIONS
from fsbench.records.record import find_distinct_records
from fsbench.terminal import print_line
from fsbench.version import __version__


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs")
    parser.add_argument("-o", "--out", type=Path, help="file to write, such as results.fsb")
    parser.add_argument("--card", type=Path, help="YAML file: what a reader must know before these are ranked")
    parser.add_argument("--licence", default="CC-BY-4.0", help="of the results (default: CC-BY-4.0)")
    parser.add_argument("--new-card", type=Path, metavar="FILE", help="write a card to fill in, and nothing else")
    parser.add_argument(
        "--predictions", action="store_true", help="with the predictions that the runs kept (default: without)"
    )
    parser.set_defaults(function=_bundle)


def _bundle(options: argparse.Namespace, extra: list[str]) -> int:
    if options.new_card is not None:
        check_output_file(options.new_card, "--new-card")
        if options.new_card.exists():
            raise SettingsError(f"{options.new_card} is there already; expected a new file; choose another name")
        write_text(options.new_card, CHOICES)
        print_line(f"fill it in, then: fsbench bundle RUNS --card {options.new_card} -o results.fsb")
        return 0
    needed = {"runs": options.runs, "--card": options.card, "-o": options.out}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise SettingsError(
            f"bundle lacks {', '.join(missing)}; expected: fsbench bundle RUNS --card card.yaml -o results.fsb "
            "(a card to fill in: fsbench bundle --new-card card.yaml)"
        )
    check_output_file(options.out, "-o")
    check_replaced(options.out, "-o", "bundle", read_listing)
    if not 0 < len(options.licence) <= 200 or not options.licence.isprintable():
        raise SettingsError("--licence is empty, longer than 200 characters or no text, expected a name like CC-BY-4.0")
    card = read_card(options.card)
    records = find_distinct_records(options.runs)
    if not records:
        raise RecordError(f"no finished run in {', '.join(map(str, options.runs))}; make one with: make bench")
    made_by = f"fsbench {__version__}"
    names = write_bundle(records, card, options.licence, made_by, options.out, options.predictions)
    kept = sum((record.path / PREDICTIONS).is_file() for record in records) if options.predictions else 0
    holds = f"{len(names)} runs, {kept or 'none'} with predictions"
    print_line(f"{options.out}: {holds}; check it with: fsbench verify {options.out}")
    return 0
