"""`fsbench bench`: train and evaluate methods and print their table, or one experiment of configuration files."""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fsbench.base.errors import CheckpointError, FsbenchError, SettingsError, exit_status, missing_package, raise_all
from fsbench.base.terminal import print_block, print_error, print_note, text_width
from fsbench.cli.options import add_option, add_table_options
from fsbench.cli.parser import given_options
from fsbench.cli.table import check_metrics, print_table
from fsbench.records.record import Record
from fsbench.results.sheets.formats import SHEETS, write_sheets
from fsbench.runner.config.checks import absent_files, wrong_names
from fsbench.runner.config.limits import whole
from fsbench.runner.config.merge import (
    asks,
    merge_files,
    merge_settings,
    parted_arguments,
    setting,
    split_arguments,
    stated_values,
)
from fsbench.runner.config.registry import config_files
from fsbench.runner.config.run_config import Option, RunConfig, option_names, run_configs, run_options
from fsbench.runner.grid.plan import Planner, may_be_done
from fsbench.runner.grid.plan_sheet import request_sheet


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.allow_abbrev = False
    parser.usage = (
        "fsbench bench [--method METHOD] [--dataset DATASET] [--fold FOLD] [--OPTION VALUE …] [--GROUP.KEY VALUE …]\n"
        "       fsbench bench --config FILE [--config FILE …] [--GROUP.KEY VALUE …]"
    )
    parser.description = (
        "Train and evaluate methods and print their table. With --config and without --method, train and evaluate "
        "exactly the one experiment that the files describe, such as the config.yaml of a finished run."
    )
    parser.epilog = (
        "Further arguments set keys of the configuration, e.g. --model.learning_rate 1e-4 --trainer.max_epochs 10; "
        "--print_config shows all keys with their values."
    )
    parser.add_argument(
        "-h",
        "--help",
        action="store_true",
        help="show this help; with --method or --config, also the keys that can be set for its method and data",
    )
    add_run_options(parser)
    add_table_options(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="run nothing; show which runs are done, and the time, the memory and any missing files of the others. "
        "Exit status 1 if a run cannot start",
    )
    parser.set_defaults(function=partial(_bench, parser))


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fsbench bench` for a run; options that are not given are missing from the namespace."""
    for option in run_options():
        several = "; or several with commas" if option.axis and "commas" not in option.help else ""
        add_option(parser, option, option.field, metavar=option.make_variable, help=option.help + several)


def _bench(parser: argparse.ArgumentParser, options: argparse.Namespace, extra: list[str]) -> int:
    has_files = any(key == "config" for key, _ in split_arguments(extra))
    if options.help:
        parser.print_help()
        if "method" in options or has_files:
            print_block(f"\n{_describe_keys(getattr(options, 'method', ''), extra)}")
        parser.exit()
    if "method" not in options and has_files:
        return _run_experiment(parser, options, extra)
    runs = read_runs(options, extra)
    if asks(extra):
        runs[0].parse()  # shows the configuration, and ends the command
    raise_all(wrong_names(runs))
    check_metrics(options)  # lest who misspells a score learns of it after the runs
    if options.dry_run:
        return _dry_run(runs, options.format)
    if absent := absent_files(runs):
        wrong = [*_refusals(runs, build=False), *absent]  # lest who fetches a file learns of a typo only then
        raise_all(wrong if len(wrong) > len(absent) else _refusals(runs, build=True) or absent)

    # torch and Lightning, which arguments that are wrong do not wait for
    from fsbench.runner.grid.children import start_server

    if not all(map(may_be_done, runs)):
        start_server()  # it imports what the runs need while this process does; else the first run starts it
    from fsbench.runner.engine.machine.launch import is_first
    from fsbench.runner.grid.bench import bench

    records, failures = bench(runs)
    if not is_first():
        records = []  # the first process prints the table of all
    for note in _unasked(records, runs[0].asked_alone or 0):
        print_note(note)
    if records:
        failures += print_table([record.path for record in records], options)
    for failure in failures:
        print_error(failure)
    return 1 if failures else 0


def read_runs(options: argparse.Namespace, extra: Sequence[str]) -> list[RunConfig]:
    """Return the configurations of the runs of a command line: every combination of comma-separated values.

    Args:
        options: the parsed options of `fsbench bench`.
        extra: further arguments in LightningCLI's form, such as `--trainer.max_epochs=5`.

    Raises:
        SettingsError: a value is no number, or no method is named.
    """
    given: dict[str, Any] = {}
    axes: dict[str, Sequence[Any]] = {"protocol": (None,), "method": ("emat",), "fold": (0,)}
    errors: list[FsbenchError] = []
    for option in run_options():
        if option.field not in options:
            continue
        try:
            value = _value(getattr(options, option.field), option)
        except SettingsError as error:
            errors.append(error)
            continue
        if option.axis is None:
            given[option.field] = value
        else:
            axes[option.field] = value
    raise_all(errors)
    if not all(axes.values()):
        empty = next(field for field, values in axes.items() if not values)
        raise SettingsError(f"no {empty} was named; see: fsbench list")
    for option in run_options():
        if option.key and len(axes.get(option.field, ())) > 1:
            files, others = parted_arguments(extra, option_names())
            stated = setting(merge_settings(merge_files(files), stated_values(others)), option.key)
            if stated is not None:
                raise SettingsError(
                    f"{option.make_variable} names {', '.join(map(str, axes[option.field]))}, and {option.key} is "
                    f"{stated} for all; expected one of the two; leave {option.key} out of the arguments and of files "
                    "of --config"
                )
    return run_configs(axes, **given, extra=tuple(extra))


def _value(text: Any, option: Option) -> Any:
    """Return the value of an option, or its values; SettingsError where one should be a number and is none."""
    if option.kind is bool:
        return text
    words = [word.strip() for word in text.split(",") if word.strip()] if option.several else [text]
    if option.kind is int:
        try:
            values: list[Any] = [whole(0 if option.least is None else option.least)(word) for word in words]
        except argparse.ArgumentTypeError as error:
            raise SettingsError(f"--{option.name} {error}") from None
    else:
        values = words
    return tuple(values) if option.several else values[0]


def _unasked(records: Sequence[Record], wanted: int) -> list[str]:
    """Return a remark on each finished run that was found, and of which too few episodes were asked alone."""
    return [
        f"{record.path} was done before, with {record.run.asked_alone or 0} episodes asked alone instead of {wanted}; "
        "--force repeats the run and asks them"
        for record in records
        if (record.run.asked_alone or 0) < min(wanted, len(record.manifest.episodes))
    ]


def _run_experiment(parser: argparse.ArgumentParser, options: argparse.Namespace, extra: list[str]) -> int:
    """Train and evaluate the experiment of configuration files; no table is printed.

    Every process of a run that has several is started so, by Lightning, torchrun or SLURM.
    """
    if given := given_options(parser, options):
        names = ", ".join(given.values())
        raise SettingsError(
            f"{names} and --config were both given, without --method; expected keys of the configuration beside "
            "--config FILE, such as --data.test.shot 5, or --method METHOD, whose settings the files then change"
        )
    files, others = parted_arguments(extra, option_names())
    values = merge_files(files)

    def work() -> int:
        # torch and Lightning, which arguments that are wrong do not wait for
        from fsbench.runner.config.parse import parse_values
        from fsbench.runner.engine.run import run_parsed

        run_parsed(parse_values(values, others))
        return 0

    return exit_status(work, options.debug, below_bar=True, resumes=True)


def _describe_keys(methods: str, extra: list[str]) -> str:
    """Return the keys of the classes of the first of some methods, and of files, in words."""
    first = methods.split(",")[0].strip()
    files, _ = parted_arguments(extra, option_names())
    values = merge_settings(merge_files(config_files(first)) if first else {}, merge_files(files))
    try:
        # torch and the classes themselves
        from fsbench.runner.config.parse import describe_keys
    except ModuleNotFoundError as error:
        if not (missing := missing_package(error)):
            raise
        return f"cannot list the keys of the method and the data: {missing}"
    return describe_keys(values)


def _refusals(runs: Sequence[RunConfig], build: bool) -> list[FsbenchError]:
    """Return what the classes of runs do not accept of their settings, besides absent files; imports torch.

    Args:
        runs: the runs.
        build: whether to build the methods, which refuse more.
    """
    errors: dict[str, FsbenchError] = {}
    for run in runs:
        try:
            parsed = run.parse(build=False)
            if build:
                parsed.build_method()
        except CheckpointError:
            continue
        except FsbenchError as error:
            errors[str(error)] = error
    return list(errors.values())


def _dry_run(runs: Sequence[RunConfig], form: str) -> int:
    """Show the plan of runs; 1 where one lacks something or is refused."""
    if form not in (*SHEETS, "json"):
        raise SettingsError(f"--format is {form}, which --dry-run cannot write; expected {', '.join(SHEETS)} or json")
    folder = runs[0].runs
    planner = Planner(Path(folder), recheck=True, takes_notes=False, draws=False)
    planned = [planner.plan(run) for run in runs]
    if form == "json":
        print_block(json.dumps([item.as_dict() for item in planned], indent=2))
    else:
        print_block(write_sheets(form, [request_sheet(planned, folder)], *text_width()))
    return 1 if any(item.obstacle for item in planned) else 0
