"""`fsbench bench` and `fsbench run`: train and evaluate methods."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datamodules.instructions import GUIDES, missing
from fsbench.cli.table import add_table_options, print_table
from fsbench.config.options import add_bench_options, read_request
from fsbench.config.request import Request
from fsbench.errors import CheckpointError, DataError, FsbenchError, SettingsError, raise_all
from fsbench.terminal import print_block, print_error

if TYPE_CHECKING:
    from fsbench.config.needs import AbsentData


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bench = commands.add_parser(
        "bench",
        allow_abbrev=False,
        help="train and evaluate methods and print their table",
        epilog="Further arguments go to the configuration, e.g. --model.learning_rate 1e-4 --trainer.max_epochs 10; "
        "--print_config shows all of it.",
    )
    add_bench_options(bench)
    add_table_options(bench)
    bench.add_argument(
        "--dry-run",
        action="store_true",
        help="run nothing: show which runs exist, what the others lack, their time and memory; 1 if something lacks",
    )
    bench.set_defaults(function=_bench)

    run = commands.add_parser(
        "run",
        allow_abbrev=False,
        add_help=False,
        help="train and evaluate one experiment from --config files",
        usage="fsbench run [--method METHOD] --config FILE [--config FILE …] [--GROUP.KEY VALUE …]",
    )
    run.add_argument("--method", help="before all files: base.yaml and the method's; as METHOD of fsbench bench")
    run.add_argument(
        "-h", "--help", action=_RunHelp, nargs=0, help="show what may be set; with --config, of its classes"
    )
    run.set_defaults(function=_run)


def _bench(options: argparse.Namespace, extra: list[str]) -> int:
    requests, errors = _requests(options, extra)
    if options.dry_run:
        raise_all([error for error in errors if not isinstance(error, DataError | CheckpointError)])
        return _dry_run(requests, options.format)
    raise_all(errors)
    # torch and Lightning, which a request that is wrong does not wait for
    from fsbench.grid.bench import bench

    records, failures = bench(*requests)
    if records:
        failures += print_table([record.path for record in records], options)
    for failure in failures:
        print_error(failure)
    return 1 if failures else 0


def _requests(options: argparse.Namespace, extra: list[str]) -> tuple[list[Request], list[FsbenchError]]:
    """Return a request for each protocol that is named, and an error about each thing that is wrong in any of them."""
    # spared until it is needed, with yaml
    from fsbench.config.argument_check import read_arguments
    from fsbench.config.request_check import request_errors
    from fsbench.config.settings import setting

    words = [word.strip() for word in options.protocol.split(",")] if "protocol" in options else []
    named: list[dict[str, str]] = [{"protocol": word} for word in dict.fromkeys(filter(None, words))]
    requests: list[Request] = []
    errors: list[FsbenchError] = []
    again = setting(read_arguments(extra)[0], "data.protocol")
    if len(named) > 1 and again is not None:
        protocols = ", ".join(entry["protocol"] for entry in named)
        raise SettingsError(
            f"PROTOCOL names {protocols}, and data.protocol names {again} for all; expected one of the two; leave "
            "data.protocol out of the arguments and of files of --config"
        )
    for protocol in named or [{}]:
        request, wrong = read_request(argparse.Namespace(**vars(options) | protocol), extra)
        requests.append(request)
        errors += wrong + request_errors(request, _absent)
    return requests, list({str(error): error for error in errors}.values())


def _dry_run(requests: Sequence[Request], form: str) -> int:
    """Show the plan of requests; 1 where a run lacks something or is refused."""
    # heavy: other commands spare it
    from fsbench.grid.dry_run import as_values, dry_run, to_sheet
    from fsbench.tables.formats import SHEETS

    if form not in (*SHEETS, "json"):
        raise SettingsError(f"--format is {form}, which --dry-run does not have; expected {', '.join(SHEETS)} or json")
    found = dry_run(*requests)
    runs = requests[0].runs
    plan = json.dumps(as_values(found), indent=2) if form == "json" else SHEETS[form]([to_sheet(found, runs)])
    print_block(plan)
    return 1 if any(item.state in ("lacks files", "refused") for item in found) else 0


class _RunHelp(argparse.Action):
    """Show the keys that a run takes, read from the sources of what it builds: nothing heavy is imported."""

    def __call__(self, parser: argparse.ArgumentParser, *more: object) -> None:
        # spared until it is needed, with yaml
        from fsbench.config.argument_check import described_keys

        given = sys.argv[sys.argv.index("run") + 1 :] if "run" in sys.argv else []
        chosen = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        chosen.add_argument("--method")
        options, words = chosen.parse_known_args([word for word in given if word not in ("-h", "--help")])
        described = described_keys(_configuration_of_method(options.method) + words)
        parser.print_help()
        print_block(f"\n{described}")
        parser.exit()


def _absent(data: "AbsentData") -> DataError:
    """Return the error about an absent data set, with what to fetch from where."""
    expected = f"expected the data set {data.name}; get it with: {data.command}"
    if data.is_own:
        expected = f"expected the folder of your data set; {data.command}"
    problem = f"the folder {data.folder} does not exist or is empty; {expected}"
    return missing(problem, GUIDES.get(data.name, ""))


def _configuration_of_method(name: str | None) -> list[str]:
    """Return the arguments that choose a method for `fsbench run`: base.yaml, the method's file, and its name."""
    if name is None:
        return []
    # spared until it is needed, with yaml
    from fsbench.config.registry import choose_method, config_files

    files = config_files(name)
    return [*(f"--config={file}" for file in files), f"--run.name={choose_method(name).name}"]


def _run(options: argparse.Namespace, extra: list[str]) -> int:
    # spared until it is needed, with yaml
    from fsbench.config.argument_check import asks, read_arguments

    extra = _configuration_of_method(options.method) + extra
    if not asks(extra):
        raise_all(read_arguments(extra)[1])
    # torch and Lightning, which arguments that are wrong do not wait for
    from fsbench.config.build import parse
    from fsbench.engine.experiment import Experiment
    from fsbench.engine.machine.process_group import leaving_process_group
    from fsbench.engine.run import run

    with leaving_process_group():
        run(Experiment(parse(extra)))
    return 0
