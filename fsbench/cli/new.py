"""`fsbench new`: a package with a method, a data set or a protocol of one's own, to be filled."""

import argparse
from pathlib import Path

from fsbench.base.terminal import print_line
from fsbench.runner.extend.new_package import write_package


def add_options(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="action", required=True, parser_class=type(parser))
    for kind, text in (
        ("method", "a method that learns"),
        ("dataset", "a data set with label maps"),
        ("protocol", "a test of segmentation"),
    ):
        new = kinds.add_parser(kind, help=f"{text}, which works as it is written; with its test and CI workflow")
        new.add_argument("name", help=f"of the {kind}, its module and its folder: small letters, digits and _")
        new.add_argument("--in", dest="folder", type=Path, default=Path(), metavar="DIR", help="folder to make it in")
        new.set_defaults(function=_new)


def _new(options: argparse.Namespace, extra: list[str]) -> int:
    target, class_name = write_package(options.action, options.name, options.folder)
    names = sorted(path.name for path in target.iterdir() if not path.name.startswith("."))
    print_line(f"{target}: {', '.join(names)}, .github; fill in what is marked with §")
    place = f"{target if target.is_absolute() else Path(target)}"
    spec = f"{'' if target.is_absolute() else './'}{place}/{options.name}.py:{class_name}"
    if options.action == "method":
        print_line(f"as it is: fsbench bench --method {spec} --dataset demo")
    elif options.action == "protocol":
        print_line(f"as it is: pip install -e {'' if target.is_absolute() else './'}{place}")
        print_line(f"then:     fsbench bench --protocol {options.name} --method prototype --dataset demo")
    else:
        print_line(f"as it is: fsbench bench --method prototype --backbone demo --dataset {spec} --data.image_size 128")
    return 0
