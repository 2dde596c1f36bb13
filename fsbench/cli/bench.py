"""`fsbench bench`: train and evaluate methods and print their table, or one experiment of configuration files."""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fsbench.base.errors import (
    CheckpointError,
    DataError,
    FsbenchError,
    SettingsError,
    exit_status,
    missing_package,
    raise_all,
)
from fsbench.base.terminal import print_block, print_error, print_note
from fsbench.cli.options import add_table_options
from fsbench.cli.parser import given_options
from fsbench.cli.table import print_table
from fsbench.records.record import Record
from fsbench.results.tables.formats import SHEETS
from fsbench.runner.config.compose import compose, setting, split_arguments
from fsbench.runner.config.registry import config_files
from fsbench.runner.config.request import Request, add_bench_options, read_request
from fsbench.runner.config.request_check import request_errors
from fsbench.runner.grid.bench import bench
from fsbench.runner.grid.layout import request_sheet
from fsbench.runner.grid.plan import Planner
from fsbench.runner.grid.spec import request_cells


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
        "Further arguments go to the configuration, e.g. --data.episodes 100 (test episodes of a fold, instead of the "
        "protocol's number: a trial) --model.learning_rate 1e-4 --trainer.max_epochs 10; "
        "--print_config shows all of it."
    )
    parser.add_argument(
        "-h",
        "--help",
        action="store_true",
        help="show this; with --method or --config, also the keys that may be set of its classes",
    )
    add_bench_options(parser)
    add_table_options(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="run nothing: show which runs exist, what the others lack, their time and memory; 1 if something lacks",
    )
    parser.set_defaults(function=partial(_bench, parser))


def _bench(parser: argparse.ArgumentParser, options: argparse.Namespace, extra: list[str]) -> int:
    if options.help:
        _show_help(parser, options, extra)
    if "methods" not in options and _has_files(extra):
        return _run_experiment(parser, options, extra)
    requests, errors = _requests(options, extra)
    if options.dry_run:
        raise_all([error for error in errors if not isinstance(error, DataError | CheckpointError)])
        return _dry_run(requests, options.format)
    if errors and all(isinstance(error, DataError | CheckpointError) for error in errors):
        errors = _distinct([*_wrong_settings(requests), *errors])  # lest who fetches a file learns of a typo only then
    raise_all(errors)
    records, failures = bench(*requests)
    for note in _unasked(records, requests[0].check_memory or 0):
        print_note(note)
    if records:
        failures += print_table([record.path for record in records], options)
    for failure in failures:
        print_error(failure)
    return 1 if failures else 0


def _unasked(records: Sequence[Record], wanted: int) -> list[str]:
    """Return a remark on each finished run that was found, and of which too few episodes were asked alone."""
    return [
        f"{record.path} was there already, and {record.run.asked_alone or 0} of its episodes were asked alone, not "
        f"{wanted}; --force repeats it"
        for record in records
        if (record.run.asked_alone or 0) < min(wanted, len(record.manifest.episodes))
    ]


def _has_files(extra: Sequence[str]) -> bool:
    """Return whether further arguments name files of --config."""
    return any(key == "config" for key, _ in split_arguments(extra))


def _run_experiment(parser: argparse.ArgumentParser, options: argparse.Namespace, extra: list[str]) -> int:
    """Train and evaluate the experiment of configuration files; no table is printed.

    Every process of a run that has several is started so, by Lightning, torchrun or SLURM.
    """
    if given := given_options(parser, options):
        names = ", ".join(given.values())
        raise SettingsError(
            f"{names} and --config were both given, without --method; expected keys of the configuration beside "
            "--config FILE, such as --data.shot 5, or --method METHOD, whose settings the files then change"
        )
    configuration = compose(extra)
    raise_all(configuration.problems)

    def work() -> int:
        # torch and Lightning, which arguments that are wrong do not wait for
        from fsbench.runner.engine.run import run_configuration

        return run_configuration(configuration)

    return exit_status(work, options.debug, below_bar=True, resumes=True)


def _show_help(parser: argparse.ArgumentParser, options: argparse.Namespace, extra: list[str]) -> None:
    """Show the options, and the keys of the classes of the method and the files that were named; end the process."""
    parser.print_help()
    if "methods" in options or _has_files(extra):
        print_block(f"\n{_describe_keys(getattr(options, 'methods', ''), extra)}")
    parser.exit()


def _describe_keys(methods: str, extra: list[str]) -> str:
    """Return the keys of the classes of the first of some methods, and of files, in words."""
    first = methods.split(",")[0].strip()
    chosen = [f"--config={file}" for file in config_files(first)] if first else []
    try:
        # torch and the classes themselves
        from fsbench.runner.config.build import describe_keys
    except ModuleNotFoundError as error:
        if not (missing := missing_package(error)):
            raise
        return f"the keys that may be set are those of the classes: {missing}"
    return describe_keys(chosen + extra)


def _requests(options: argparse.Namespace, extra: list[str]) -> tuple[list[Request], list[FsbenchError]]:
    """Return a request for each protocol that is named, and an error about each thing that is wrong in any of them."""
    words = [word.strip() for word in options.protocol.split(",")] if "protocol" in options else []
    named: list[dict[str, str]] = [{"protocol": word} for word in dict.fromkeys(filter(None, words))]
    requests: list[Request] = []
    errors: list[FsbenchError] = []
    again = setting(compose(extra).values, "data.protocol") if len(named) > 1 else None
    if again is not None:
        protocols = ", ".join(entry["protocol"] for entry in named)
        raise SettingsError(
            f"PROTOCOL names {protocols}, and data.protocol names {again} for all; expected one of the two; leave "
            "data.protocol out of the arguments and of files of --config"
        )
    for protocol in named or [{}]:
        request, wrong = read_request(argparse.Namespace(**vars(options) | protocol), extra)
        requests.append(request)
        errors += wrong + request_errors(request)
    return requests, _distinct(errors)


def _distinct(errors: Sequence[FsbenchError]) -> list[FsbenchError]:
    return list({str(error): error for error in errors}.values())


def _wrong_settings(requests: Sequence[Request]) -> list[FsbenchError]:
    """Return what the parser does not accept of the settings of requests whose names are known; imports torch."""
    from fsbench.runner.config.build import parse_configuration

    errors: list[FsbenchError] = []
    for request in requests:
        for method in request.methods:
            try:
                parse_configuration(request.configuration(method, request.folds[0]), build=False)
            except FsbenchError as error:
                errors.append(error)
    return errors


def _dry_run(requests: Sequence[Request], form: str) -> int:
    """Show the plan of requests; 1 where a run lacks something or is refused."""
    if form not in (*SHEETS, "json"):
        raise SettingsError(f"--format is {form}, which --dry-run does not have; expected {', '.join(SHEETS)} or json")
    runs = requests[0].runs
    planner = Planner(Path(runs), recheck=True, takes_notes=False, draws=False)
    planned = [planner.plan(cell) for request in requests for cell in request_cells(request)]
    if form == "json":
        print_block(json.dumps([item.as_dict() for item in planned], indent=2))
    else:
        print_block(SHEETS[form]([request_sheet(planned, runs)]))
    return 1 if any(item.obstacle for item in planned) else 0
