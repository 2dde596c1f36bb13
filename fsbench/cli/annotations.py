"""`fsbench annotations`: what weaker annotations of the supports cost against masks, from finished runs."""

import argparse
from pathlib import Path

from fsbench.cli.analysis import add_output_options, show
from fsbench.protocols.registry import metric_names
from fsbench.results.tables.analyses import ANNOTATIONS
from fsbench.results.tables.annotations.losses import annotation_tables


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, help="folders of runs with masks and with other SUPPORT_ANNOTATIONs"
    )
    parser.add_argument("--metrics", help="with commas (see: fsbench list); default: the protocol's first")
    add_output_options(parser, ANNOTATIONS.name)
    parser.set_defaults(function=_annotations)


def _annotations(options: argparse.Namespace, extra: list[str]) -> int:
    metrics = None if options.metrics is None else metric_names(options.metrics)
    return show(options, ANNOTATIONS, lambda records: annotation_tables(records, metrics))
