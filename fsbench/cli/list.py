"""`fsbench list`: methods, data sets, protocols and metrics."""

import argparse

from fsbench.config.registry import aliases, names, task_of
from fsbench.metrics.scores import METRICS
from fsbench.terminal import print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(function=_list)


def _list(options: argparse.Namespace, extra: list[str]) -> int:
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
