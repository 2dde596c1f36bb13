"""`fsbench bench`: train and evaluate methods and print their table."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import CheckpointError, DataError, FsbenchError, SettingsError, raise_all
from fsbench.base.terminal import print_block, print_error
from fsbench.cli.parser import add_table_options
from fsbench.cli.table import print_table
from fsbench.results.tables.formats import SHEETS
from fsbench.runner.config.compose import compose, setting
from fsbench.runner.config.request import Request, add_bench_options, read_request
from fsbench.runner.config.request_check import request_errors
from fsbench.runner.grid.bench import bench
from fsbench.runner.grid.layout import request_sheet
from fsbench.runner.grid.plan import Planner
from fsbench.runner.grid.spec import request_cells


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.allow_abbrev = False
    parser.epilog = (
        "Further arguments go to the configuration, e.g. --data.episodes 100 (test episodes of a fold, instead of the "
        "protocol's number: a trial) --model.learning_rate 1e-4 --trainer.max_epochs 10; "
        "--print_config shows all of it."
    )
    add_bench_options(parser)
    add_table_options(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="run nothing: show which runs exist, what the others lack, their time and memory; 1 if something lacks",
    )
    parser.set_defaults(function=_bench)


def _bench(options: argparse.Namespace, extra: list[str]) -> int:
    requests, errors = _requests(options, extra)
    if options.dry_run:
        raise_all([error for error in errors if not isinstance(error, DataError | CheckpointError)])
        return _dry_run(requests, options.format)
    if errors and all(isinstance(error, DataError | CheckpointError) for error in errors):
        errors = _distinct([*_wrong_settings(requests), *errors])  # lest who fetches a file learns of a typo only then
    raise_all(errors)
    records, failures = bench(*requests)
    if records:
        failures += print_table([record.path for record in records], options)
    for failure in failures:
        print_error(failure)
    return 1 if failures else 0


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
