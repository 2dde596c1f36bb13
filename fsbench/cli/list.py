"""`fsbench list` and `fsbench protocols`."""

import argparse
import shutil

from fsbench.terminal import print_block, print_line


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    listing = commands.add_parser("list", help="list methods, data sets, protocols and metrics")
    listing.set_defaults(function=_list)

    protocols = commands.add_parser("protocols", help="show the protocols side by side and what their choices entail")
    protocols.add_argument("--format", choices=("text", "markdown"), default="text")
    protocols.set_defaults(function=_protocols)


def _list(options: argparse.Namespace, extra: list[str]) -> int:
    # heavy: other commands spare it
    from fsbench.config.registry import aliases, names, task_of
    from fsbench.metrics.scores import METRICS

    for task in ("segmentation", "classification"):
        for title, kind in (("methods", "methods"), ("data sets", "data")):
            print_line(f"{task}, {title}:")
            for name, line in names(kind).items():
                if task_of(kind, name) == task:
                    print_line(f"  {name:16} {line}")
        print_line(f"{task}, aliases:")
        for alias, choice in aliases().items():
            if task_of("methods", choice.method) == task:
                print_line(f"  {alias:16} {choice.method} with the backbone {choice.backbone}")
    print_line("backbones (--backbone …):")
    for name, line in names("backbones").items():
        print_line(f"  {name:16} {line}")
    print_line("protocols (of segmentation; classification has one, fort):")
    for name, line in names("protocols").items():
        print_line(f"  {name:16} {line}")
    print_line("metrics (fsbench table --metrics …):")
    for name, metric in METRICS.items():
        print_line(f"  {name:16} {metric.meaning}")
    return 0


def _protocols(options: argparse.Namespace, extra: list[str]) -> int:

    # heavy: other commands spare it
    from fsbench.protocols.base import load_protocol, protocol_names
    from fsbench.tables.protocol_text import as_markdown, side_by_side

    protocols = [load_protocol(name) for name in protocol_names()]
    width = shutil.get_terminal_size((140, 24)).columns
    print_block(as_markdown(protocols) if options.format == "markdown" else side_by_side(protocols, width))
    return 0
