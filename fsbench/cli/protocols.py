"""`fsbench protocols`: the protocols side by side."""

import argparse
import shutil

from fsbench.base.terminal import print_block
from fsbench.protocols.registry import load_protocol, protocol_names
from fsbench.results.tables.protocol_text import as_markdown, side_by_side


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; default: all")
    parser.add_argument("--format", choices=("text", "markdown"), default="text")
    parser.set_defaults(function=_protocols)


def _protocols(options: argparse.Namespace, extra: list[str]) -> int:
    protocols = [load_protocol(name) for name in options.names or protocol_names()]
    width = shutil.get_terminal_size((140, 24)).columns
    print_block(as_markdown(protocols) if options.format == "markdown" else side_by_side(protocols, width))
    return 0
