"""The `fsbench` command."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench import (
    __version__,
    compare_commands,
    cost_command,
    data_commands,
    demo_command,
    explain_command,
    grid_commands,
    manifest_commands,
    predict_command,
    regress_commands,
    report_command,
)
from fsbench.errors import GOES_ON, FsbenchError, RecordError, SettingsError, say_left_out, user_message

if TYPE_CHECKING:
    from fsbench.records import Record

FORMATS = ("text", "markdown", "csv", "latex", "json")
RESCORE_FORMATS = ("text", "markdown", "latex", "json")
BREAKDOWNS = ("size", "class", "fold")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; exit status 0, 1 (a cell failed), 2 (bad input, said in one line), 130 (interrupted)."""
    # Before torch is imported: its threads spin for milliseconds while they wait, which makes a busy machine crawl;
    # 1000 turns (some microseconds) cost nothing on a quiet one.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    parser = _parser()
    options, extra = parser.parse_known_args(argv)
    if extra and options.command not in ("bench", "run"):
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    try:
        return int(options.function(options, extra))
    except FsbenchError as error:
        if options.debug:
            raise
        below_progress = "\n" if options.command == "run" else ""
        print(f"{below_progress}fsbench: error: {user_message(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumes = options.command in ("bench", "run", "predict") or getattr(options, "action", "") == "prepare"
        print(f"\nfsbench: stopped{f'; {GOES_ON}' * resumes}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fsbench", description="Few-shot segmentation benchmarks.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True)

    bench = commands.add_parser(
        "bench",
        allow_abbrev=False,
        help="train and evaluate methods on folds and print the table",
        epilog="Further arguments go to the configuration, e.g. --model.learning_rate 1e-4 --trainer.max_epochs 10; "
        "--print_config shows all of it.",
    )
    bench.add_argument("--method", default="emat", help="name, or several with commas (see: fsbench list)")
    bench.add_argument("--dataset", default="demo", help="see: fsbench list")
    bench.add_argument("--fold", default="0", help="number, or several with commas")
    bench.add_argument("--way", type=int)
    bench.add_argument("--shot", type=int)
    bench.add_argument("--protocol", help="fscs (the default), hsnet, pfenet; see: fsbench protocols")
    bench.add_argument("--manifest", help="file of test episodes; {fold} stands for the fold; its task is the task")
    bench.add_argument("--setting", help="original, partially_augmented, fully_augmented, 0-5, 5-10, 10-15, 0-15")
    bench.add_argument("--devices", type=int, help="processes on this machine, one per device")
    bench.add_argument("--ckpt", help="evaluate this checkpoint (ours or the authors'); {fold} stands for the fold")
    bench.add_argument("--seed", type=int)
    bench.add_argument("--data-root", help="folder of the data set")
    bench.add_argument("--weights", help="file of the backbone's weights, or random")
    bench.add_argument("--lists", help="folders with official list files, with commas")
    bench.add_argument("--runs", default="runs", help="folder of all runs")
    bench.add_argument("--fast", action="store_true", help="a trial of a few minutes")
    bench.add_argument("--force", action="store_true", help="repeat what is done")
    bench.add_argument("--drop-small", action="store_true", help="leave out classes with too few images")
    _add_table_options(bench)
    bench.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    bench.set_defaults(function=_bench)

    run = commands.add_parser("run", allow_abbrev=False, help="one cell, from --config files (LightningCLI)")
    run.set_defaults(function=_run)

    table = commands.add_parser("table", help="the table of finished runs")
    table.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    _add_table_options(table)
    table.set_defaults(function=_table)

    rescore = commands.add_parser("rescore", help="another protocol's metric on the predictions of finished runs")
    rescore.add_argument("runs", nargs="+", type=Path, help="folders of runs; nothing is written")
    rescore.add_argument("--protocol", required=True, help="see: fsbench list")
    rescore.add_argument("--format", choices=RESCORE_FORMATS, default="text", help="of the table")
    rescore.set_defaults(function=_rescore)

    listing = commands.add_parser("list", help="methods, data sets, protocols")
    listing.set_defaults(function=_list)

    protocols = commands.add_parser("protocols", help="the protocols side by side, and what follows from their choices")
    protocols.add_argument("--format", choices=("text", "markdown"), default="text")
    protocols.set_defaults(function=_protocols)

    manifest_commands.add_parser(commands)
    cost_command.add_parser(commands)
    predict_command.add_parser(commands)
    demo_command.add_parser(commands)
    explain_command.add_parser(commands)
    compare_commands.add_parser(commands)
    grid_commands.add_parser(commands)
    regress_commands.add_parser(commands)
    report_command.add_parser(commands)

    checkpoint = commands.add_parser("checkpoint", help="convert a checkpoint: authors' <-> ours")
    checkpoint.add_argument("source", type=Path)
    checkpoint.add_argument("target", type=Path)
    checkpoint.add_argument("--backbone", type=Path, help="backbone weights to put into an authors' checkpoint")
    checkpoint.set_defaults(function=_checkpoint)
    data_commands.add_parser(commands)
    return parser


def _add_table_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the table")
    parser.add_argument("--metrics", help="scores to show, with commas (see: fsbench list)")
    parser.add_argument(
        "--by", action="append", choices=BREAKDOWNS, default=[], help="break down in full; may be repeated"
    )
    parser.add_argument("--by-class", action="store_true", help="break the table down by class, too")
    parser.add_argument("--published", action="store_true", help="reported figures beside the measured ones")
    parser.add_argument("--no-trivial", action="store_true", help="leave out the answers that need no model")


def _bench(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.bench import bench
    from fsbench.request import Request

    folds = [_number(fold, "fold") for fold in _split(options.fold)]
    request = Request(
        methods=_split(options.method),
        dataset=options.dataset,
        folds=folds,
        runs=options.runs,
        way=options.way,
        shot=options.shot,
        setting=options.setting,
        protocol=options.protocol,
        manifest=options.manifest,
        devices=options.devices,
        checkpoint=options.ckpt,
        seed=options.seed,
        data_root=options.data_root,
        weights=options.weights,
        lists=_split(options.lists or ""),
        fast=options.fast,
        force=options.force,
        drop_small=options.drop_small,
        debug=options.debug,
        extra=extra,
    )
    records, failures = bench(request)
    if records:
        failures += _print_table([record.path for record in records], options)
    for failure in failures:
        print(f"fsbench: error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _run(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.cell import Cell
    from fsbench.composition import parse
    from fsbench.runner import run

    run(Cell(parse(extra)))
    return 0


def _table(options: argparse.Namespace, extra: list[str]) -> int:
    # numpy is not loaded yet; its products are small, and more threads wait for each other longer than they compute
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return say_left_out(_print_table(options.runs, options))


def _print_table(folders: Sequence[Path], options: argparse.Namespace) -> list[str]:
    """Messages about runs that are damaged, which are left out."""
    from fsbench.manifest import classifies
    from fsbench.published import read_published
    from fsbench.render import render
    from fsbench.scores import metric_names
    from fsbench.tables import DEFAULT, build_blocks

    metrics = metric_names(options.metrics) if options.metrics is not None else DEFAULT
    records, refused = _records(folders)
    if all(classifies(record.header) for record in records):
        if "size" in options.by:
            raise SettingsError("--by size: classification has no object sizes; expected --by class, or nothing")
        if "accuracy" not in metrics and options.metrics is not None:
            raise SettingsError(f"--metrics {options.metrics}: classification has accuracy alone; expected accuracy")
    by_class = options.by_class or "class" in options.by
    published = read_published() if options.published else ()
    blocks = build_blocks(
        records, by_class=by_class, trivial=not options.no_trivial, metrics=metrics, published=published
    )
    print(render(blocks, options.format, options.by))
    if options.format == "text":
        for record in records:
            files = ", ".join(
                name
                for name in ("run.json", "episodes.parquet", "predictions.png", "run.log")
                if (record.path / name).is_file()
            )
            print(f"{record.path}: {files}")
    return refused


def _records(folders: Sequence[Path]) -> tuple[list["Record"], list[str]]:
    """The finished runs in `folders`, and messages about those that are damaged."""
    from fsbench.records import find_records

    refused: list[str] = []
    records = [record for folder in folders for record in find_records(folder, refused)]
    if not records:
        none = f"no finished run in {', '.join(map(str, folders))}; make one with: make bench"
        raise RecordError("\n".join(refused)) if refused else SettingsError(none)
    return records, refused


def _rescore(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.protocol import load_protocol
    from fsbench.render import SHEETS, as_json
    from fsbench.rescore import lay_out, rescore

    target = load_protocol(options.protocol)
    records, refused = _records(options.runs)
    groups = rescore(records, target)
    print(as_json(groups) if options.format == "json" else SHEETS[options.format]([lay_out(g) for g in groups]))
    return say_left_out(refused)


def _list(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.catalogue import answers, names
    from fsbench.scores import SCORES

    for answer in ("segmentation", "classification"):
        for title, kind in (("methods", "methods"), ("data sets", "data")):
            print(f"{answer}, {title}:")
            for name, line in names(kind).items():
                if answers(kind, name) == answer:
                    print(f"  {name:16} {line}")
    print("protocols (of segmentation; classification has one, fort):")
    for name, line in names("protocols").items():
        print(f"  {name:16} {line}")
    print("metrics (fsbench table --metrics …):")
    for name, line in SCORES.items():
        print(f"  {name:16} {line}")
    return 0


def _protocols(options: argparse.Namespace, extra: list[str]) -> int:
    import shutil

    from fsbench.consequences import as_markdown, side_by_side
    from fsbench.protocol import load_protocol, protocol_names

    protocols = [load_protocol(name) for name in protocol_names()]
    width = shutil.get_terminal_size((140, 24)).columns
    print(as_markdown(protocols) if options.format == "markdown" else side_by_side(protocols, width))
    return 0


def _checkpoint(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.catalogue import method_classes
    from fsbench.checkpoints import convert

    forms = [(name, method.authors_form) for name, method in method_classes().items()]
    direction = convert(options.source, options.target, options.backbone, forms)
    print(f"{options.target}: {direction}")
    return 0


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"{what} is '{text}', expected a number") from None
