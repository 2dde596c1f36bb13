"""`fsbench bundle` and `fsbench verify`: results in one file that others can check."""

import argparse
from pathlib import Path

from fsbench.config.class_file import name_class_files
from fsbench.config.limits import check_output_file, whole
from fsbench.errors import RecordError, SettingsError
from fsbench.terminal import print_block, print_line


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bundle = commands.add_parser("bundle", help="put finished runs into one file that others can check")
    bundle.add_argument("runs", nargs="*", type=Path, help="folders of runs")
    bundle.add_argument("-o", "--out", type=Path, help="file to write, such as results.fsb")
    bundle.add_argument("--card", type=Path, help="YAML file: what a reader must know before these are ranked")
    bundle.add_argument("--licence", default="CC-BY-4.0", help="of the results (default: CC-BY-4.0)")
    bundle.add_argument("--new-card", type=Path, metavar="FILE", help="write a card to fill in, and nothing else")
    bundle.add_argument(
        "--predictions", action="store_true", help="with the predictions that the runs kept (default: without)"
    )
    bundle.set_defaults(function=_bundle)

    verify = commands.add_parser("verify", help="check a bundle: hashes, scores, episodes, some predictions")
    verify.add_argument("bundle", type=Path, help="file that fsbench bundle wrote")
    verify.add_argument("--predict", type=whole(0, 10**6), default=0, metavar="N", help="predict N episodes again")
    verify.add_argument("--seed", type=whole(0), default=0, help="of the choice of these episodes")
    verify.add_argument("--data-root", help="where the data are here")
    verify.add_argument("--weights", help="the backbone's weights here")
    verify.add_argument("--ckpt", type=Path, help="checkpoint of the method, where the runs trained it")
    verify.add_argument(
        "--method", action="append", default=[], metavar="FILE.py:Class",
        help="with --predict, of runs whose method or data set is a class in a file: that file, whose code is run",
    )  # fmt: skip
    verify.set_defaults(function=_verify)


def _bundle(options: argparse.Namespace, extra: list[str]) -> int:
    # heavy: other commands spare it
    from fsbench import __version__
    from fsbench.exchange.bundle import write_bundle
    from fsbench.exchange.card import CHOICES, read_card
    from fsbench.files import write_text
    from fsbench.records.predictions import FILE as PREDICTIONS
    from fsbench.records.record import find_records

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
    if not 0 < len(options.licence) <= 200 or not options.licence.isprintable():
        raise SettingsError("--licence is empty, longer than 200 characters or no text, expected a name like CC-BY-4.0")
    card = read_card(options.card)
    records = [record for folder in options.runs for record in find_records(folder)]
    if not records:
        raise RecordError(f"no finished run in {', '.join(map(str, options.runs))}; make one with: make bench")
    made_by = f"fsbench {__version__}"
    names = write_bundle(records, card, options.licence, made_by, options.out, options.predictions)
    kept = sum((record.path / PREDICTIONS).is_file() for record in records) if options.predictions else 0
    holds = f"{len(names)} runs, {kept or 'none'} with predictions"
    print_line(f"{options.out}: {holds}; check it with: fsbench verify {options.out}")
    return 0


def _verify(options: argparse.Namespace, extra: list[str]) -> int:
    # heavy: other commands spare it
    from fsbench.exchange.verify import Repetition, verify
    from fsbench.tables.formats import aligned

    name_class_files(options.method)
    repetition = None
    if options.predict:
        settings = [] if options.data_root is None else [f"--data.dataset.root={options.data_root}"]
        settings += [] if options.weights is None else [f"--model.backbone.weights={options.weights}"]
        repetition = Repetition(options.predict, options.seed, settings, options.ckpt)
    listing, findings = verify(options.bundle, repetition)
    print_line(f"{options.bundle}: {len(listing.runs)} runs, {listing.licence}, made by {listing.made_by}")
    print_block("\n".join(aligned(listing.card.as_rows(), rule=False)))
    for run in (None, *listing.runs):
        print_line(run or "the file")
        for finding in findings:
            if finding.run == run:
                print_line(f"  {finding.status:<12} {finding.what}")
    failed = sum(finding.status == "failed" for finding in findings)
    unchecked = sum(finding.status == "not checked" for finding in findings)
    print_line(f"{len(findings)} findings: {failed} failed, {unchecked} not checked")
    return int(failed > 0)
