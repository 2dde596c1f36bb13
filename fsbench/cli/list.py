"""`fsbench list`: methods, data sets, protocols and metrics."""

import argparse

from fsbench.base.terminal import print_error, print_line
from fsbench.protocols.registry import ATLAS, known_metrics
from fsbench.runner.config.registry import aliases, names, names_by_task


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(function=_list)


def _list(options: argparse.Namespace, extra: list[str]) -> int:
    methods, broken_methods = names_by_task("methods")
    data, broken_data = names_by_task("data")
    for task in methods:
        for title, known in (("methods", methods), ("data sets", data)):
            print_line(f"{task}, {title}:")
            for name, line in known[task].items():
                print_line(f"  {name:16} {line}")
        print_line(f"{task}, aliases:")
        for alias, choice in aliases().items():
            if choice.method in methods[task]:
                print_line(f"  {alias:16} {choice.method} with the backbone {choice.backbone}")
    print_line("backbones (--backbone …):")
    for name, line in names("backbones").items():
        print_line(f"  {name:16} {line}")
    print_line("protocols (of segmentation; classification has one, fort):")
    for name, line in names("protocols").items():
        print_line(f"  {name:16} {line}")
    print_line(f"  {f'{ATLAS}<row>':16} the test of a published program (see: fsbench protocols {ATLAS})")
    print_line("metrics (fsbench table --metrics …):")
    for name, metric in known_metrics().items():
        print_line(f"  {name:16} {metric.meaning}")
    for problem in (*broken_methods, *broken_data):
        print_error(problem)
    return 2 if broken_methods or broken_data else 0
