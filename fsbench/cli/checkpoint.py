"""`fsbench checkpoint`: convert a checkpoint between the authors' form and ours."""

import argparse
from pathlib import Path

from fsbench.base.terminal import print_line
from fsbench.runner.config.limits import check_output_file
from fsbench.runner.config.registry import method_classes


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--backbone", type=Path, help="backbone weights to put into an authors' checkpoint")
    parser.set_defaults(function=_checkpoint)


def _checkpoint(options: argparse.Namespace, extra: list[str]) -> int:
    # torch: seconds, which help and refused options do without
    from fsbench.runner.engine.checkpoint import convert

    check_output_file(options.target, "the target")
    forms = {name: method.released_format for name, method in method_classes().items()}
    direction = convert(options.source, options.target, options.backbone, forms)
    print_line(f"{options.target}: {direction}")
    return 0
