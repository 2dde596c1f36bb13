"""`fsbench verify`: check a bundle, and repeat some of its episodes."""

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
from fsbench.runner.exchange.verify import ROOT, Repetition, note_of, verify, write_note


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="file that fsbench bundle wrote")
    parser.add_argument(
        "--predict",
        type=whole(0, 10**6),
        default=3,
        metavar="N",
        help="predict N episodes of each run again, where data and weights are here (default: 3)",
    )
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
    parser.add_argument(
        "--note",
        action="store_true",
        help="write the numbers of repeated episodes beside the bundle, for a leaderboard that trusts this machine",
    )
    add_class_files(parser)
    parser.set_defaults(function=_verify)


def _verify(options: argparse.Namespace, extra: list[str]) -> int:
    name_class_files(options.method)
    if not options.predict and (options.sample_seed is not None or options.public_value is not None):
        raise SettingsError(
            "--sample-seed and --public-value choose the episodes of --predict N, which is 0; leave one of them out"
        )
    read_listing(options.bundle)  # raises an error about what is no bundle
    root, sha256 = given_root(options), sha256_file(options.bundle)
    seed = secrets.token_hex(16) if options.sample_seed is None else str(options.sample_seed)
    if options.public_value is not None:
        seed = public_seed(sha256, options.public_value)
    places = {ROOT: root, "model.backbone.weights": options.weights}
    settings = {key: place for key, place in places.items() if place is not None}
    repetition = Repetition(options.predict, seed, settings, options.ckpt)
    data = None if root is None else DataAtHand(root, options.dataset)
    listing, verdicts = verify(options.bundle, repetition, data)
    failed = sum(bool(verdict.failure) for verdict in verdicts.values())
    outcome = f"{failed} of {len(verdicts)} runs failed" if failed else "nothing failed"
    repeated, episodes = (sum(getattr(one, name) for one in verdicts.values()) for name in ("repeated", "episodes"))
    print_line(f"{options.bundle}: {outcome}, repeated: {repeated} of {episodes} episodes")
    if options.predict:
        print_line(f"the episodes of --predict are drawn by --sample-seed {seed}")
    print_line(f"{len(verdicts)} runs, {listing.licence}, made by {listing.made_by}")
    for method, card in listing.cards.items():
        print_line(f"card of {method}, as stated")
        for entry in ENTRIES:
            if getattr(card, entry) is not None:
                print_line(f"  {entry.replace('_', ' '):<24}  {one_line(card.in_words(entry))}")
    for run, verdict in verdicts.items():
        print_line(run)
        for line in [f"failed: {verdict.failure}"] if verdict.failure else verdict.lines:
            print_line(f"  {one_line(line)}")
    if options.note:
        if failed:
            note_of(options.bundle).unlink(missing_ok=True)
        elif repeated:
            write_note(options.bundle, sha256, seed, {run: verdict.repeated for run, verdict in verdicts.items()})
            print_line(f"written: {note_of(options.bundle)}")
        else:
            print_line("no note was written, since no episode was repeated")
    return int(failed > 0)
