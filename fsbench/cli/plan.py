"""`fsbench plan`: how many images, draws of supports and trainings tell two methods apart."""

import argparse
from pathlib import Path

from fsbench.cli.analysis import add_output_options, show
from fsbench.results.tables.analyses import PLAN
from fsbench.results.tables.plan.plan import EFFECT, POWER, plans


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="runs", help="folders of finished runs of both methods"
    )
    parser.add_argument("--runs", nargs="+", type=Path, default=[], help="the same, behind a name; default: runs")
    parser.add_argument(
        "--difference", type=float, default=EFFECT, metavar="POINTS", help="true difference to find; default: 1.0"
    )
    parser.add_argument("--method", metavar="A,B", help="the two methods; default: those of the runs, if two")
    parser.add_argument("--power", type=float, default=POWER, metavar="P", help="chance to find it; default: 0.8")
    parser.add_argument("--metric", metavar="NAME", help="score; default: the protocol's first (see: fsbench list)")
    add_output_options(parser, PLAN.name)
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="short for --format json")
    parser.set_defaults(function=_plan)


def _plan(options: argparse.Namespace, extra: list[str]) -> int:
    options.runs = [*options.folders, *options.runs] or [Path("runs")]
    names = [name.strip() for name in (options.method or "").split(",") if name.strip()]
    return show(
        options,
        PLAN,
        lambda records: plans(records, names, options.difference, options.metric, options.power),
    )  # fmt: skip
