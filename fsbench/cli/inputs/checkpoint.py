"""`fsbench checkpoint`: convert a checkpoint between the authors' form and ours."""

import argparse
from pathlib import Path


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    checkpoint = commands.add_parser("checkpoint", help="convert a checkpoint between the authors' form and ours")
    checkpoint.add_argument("source", type=Path)
    checkpoint.add_argument("target", type=Path)
    checkpoint.add_argument("--backbone", type=Path, help="backbone weights to put into an authors' checkpoint")
    checkpoint.set_defaults(function=_checkpoint)


def _checkpoint(options: argparse.Namespace, extra: list[str]) -> int:
    # heavy: other commands spare it
    from fsbench.config.registry import method_classes
    from fsbench.engine.checkpoint import convert

    forms = {name: method.released_format for name, method in method_classes().items()}
    direction = convert(options.source, options.target, options.backbone, forms)
    print(f"{options.target}: {direction}")
    return 0
