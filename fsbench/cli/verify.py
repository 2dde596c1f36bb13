"""`fsbench verify`: check a bundle."""

import argparse
import secrets
from pathlib import Path

from fsbench.base.class_file import name_class_files
from fsbench.base.errors import SettingsError
from fsbench.base.files import sha256_file
from fsbench.base.terminal import one_line, print_line
from fsbench.cli.options import add_class_files, given_root
from fsbench.records.card import ENTRIES
from fsbench.runner.config.limits import whole
from fsbench.runner.exchange.bundle import read_listing
from fsbench.runner.exchange.recount import DataAtHand
from fsbench.runner.exchange.sample import public_seed
from fsbench.runner.exchange.verify import Repetition, verify


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="file that fsbench bundle wrote")
    parser.add_argument("--predict", type=whole(0, 10**6), default=0, metavar="N", help="predict N episodes again")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument(
        "--sample-seed", metavar="TEXT", help="draw the same episodes as the check that printed this text"
    )
    seeds.add_argument(
        "--public-value",
        metavar="TEXT",
        help="draw the episodes from the bundle's sha256 and a value that nobody knew when the bundle was made, such "
        "as its merge commit",
    )
    parser.add_argument(
        "--data-root", help="folder of the data on this machine; counts answers that were handed in again"
    )
    parser.add_argument("--dataset", help="name of these data, instead of the one that the episodes name")
    parser.add_argument("--weights", help="file of the backbone's weights on this machine")
    parser.add_argument("--ckpt", type=Path, help="checkpoint of the method, if the runs trained it")
    add_class_files(parser)
    parser.set_defaults(function=_verify)


def _verify(options: argparse.Namespace, extra: list[str]) -> int:
    name_class_files(options.method)
    repetition, root = None, given_root(options)
    if options.predict:
        places = {"data.dataset.root": root, "model.backbone.weights": options.weights}
        settings = {key: place for key, place in places.items() if place is not None}
        repetition = Repetition(options.predict, _sample_seed(options), settings, options.ckpt)
    elif options.sample_seed is not None or options.public_value is not None:
        raise SettingsError(
            "--sample-seed and --public-value choose the episodes of --predict N; add --predict N, or leave them out"
        )
    data = None if root is None else DataAtHand(root, options.dataset)
    listing, findings = verify(options.bundle, repetition, data)
    failed = sum(finding.status == "failed" for finding in findings)
    unchecked = sum(finding.status == "not checked" for finding in findings)
    verdict = f"NOT verified, {failed} of {len(findings)} findings failed" if failed else "verified, no finding failed"
    print_line(f"{options.bundle}: {verdict}, {unchecked} not checked")
    if repetition is not None:
        print_line(f"the episodes of --predict are drawn by --sample-seed {repetition.seed}")
    print_line(f"{len(listing.runs)} runs, {listing.licence}, made by {listing.made_by}")
    for method, card in listing.cards.items():
        print_line(f"card of {method}, as stated")
        for entry in ENTRIES:
            if getattr(card, entry) is not None:  # a run's findings say which its record shows, and which nobody knows
                print_line(f"  {entry.replace('_', ' '):<24}  {one_line(card.in_words(entry))}")
    for run in (None, *listing.runs):
        print_line(run or "the file")
        for finding in findings:
            if finding.run == run:
                print_line(f"  {finding.status:<12} {one_line(finding.what)}")
    return int(failed > 0)


def _sample_seed(options: argparse.Namespace) -> str:
    """Return the seed of the sample: the one that is given, or that follows from a public value, else a fresh one."""
    read_listing(options.bundle)  # raises an error about what is no bundle
    if options.public_value is not None:
        return public_seed(sha256_file(options.bundle), options.public_value)
    return str(options.sample_seed) if options.sample_seed is not None else secrets.token_hex(16)
