"""`fsbench verify`: check a bundle."""

import argparse
from pathlib import Path

from fsbench.base.terminal import print_block, print_line
from fsbench.results.tables.formats import align
from fsbench.runner.config.class_file import name_class_files
from fsbench.runner.config.limits import whole
from fsbench.runner.exchange.recount import DataAtHand
from fsbench.runner.exchange.verify import Repetition, verify


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="file that fsbench bundle wrote")
    parser.add_argument("--predict", type=whole(0, 10**6), default=0, metavar="N", help="predict N episodes again")
    parser.add_argument("--seed", type=whole(0), default=0, help="of the choice of these episodes")
    parser.add_argument("--data-root", help="where the data are here; counts again what was handed in")
    parser.add_argument("--dataset", help="name of these data, in place of the one that the episodes name")
    parser.add_argument("--weights", help="the backbone's weights here")
    parser.add_argument("--ckpt", type=Path, help="checkpoint of the method, where the runs trained it")
    parser.add_argument(
        "--method", action="append", default=[], metavar="FILE.py:Class",
        help="with --predict, of runs whose method or data set is a class in a file: that file, whose code is run",
    )  # fmt: skip
    parser.set_defaults(function=_verify)


def _verify(options: argparse.Namespace, extra: list[str]) -> int:
    name_class_files(options.method)
    repetition = None
    if options.predict:
        settings = [] if options.data_root is None else [f"--data.dataset.root={options.data_root}"]
        settings += [] if options.weights is None else [f"--model.backbone.weights={options.weights}"]
        repetition = Repetition(options.predict, options.seed, settings, options.ckpt)
    data = None if options.data_root is None else DataAtHand(options.data_root, options.dataset)
    listing, findings = verify(options.bundle, repetition, data)
    print_line(f"{options.bundle}: {len(listing.runs)} runs, {listing.licence}, made by {listing.made_by}")
    for method, card in listing.named_cards.items():
        print_line(f"card of {method}, as stated")
        print_block("\n".join(align(card.as_rows(), rule=False)))
    for run in (None, *listing.runs):
        print_line(run or "the file")
        for finding in findings:
            if finding.run == run:
                print_line(f"  {finding.status:<12} {finding.what}")
    failed = sum(finding.status == "failed" for finding in findings)
    unchecked = sum(finding.status == "not checked" for finding in findings)
    print_line(f"{len(findings)} findings: {failed} failed, {unchecked} not checked")
    return int(failed > 0)
