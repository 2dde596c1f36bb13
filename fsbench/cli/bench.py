"""`fsbench bench` and `fsbench run`: train and evaluate methods."""

import argparse

from fsbench.cli.table import add_table_options, print_table
from fsbench.config.options import add_bench_options, read_request
from fsbench.terminal import print_error


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
    bench.set_defaults(function=_bench)

    run = commands.add_parser("run", allow_abbrev=False, help="train and evaluate one experiment from --config files")
    run.set_defaults(function=_run)


def _bench(options: argparse.Namespace, extra: list[str]) -> int:
    # heavy: other commands spare it
    from fsbench.engine.bench import bench

    request = read_request(options, extra)
    records, failures = bench(request)
    if records:
        failures += print_table([record.path for record in records], options)
    for failure in failures:
        print_error(failure)
    return 1 if failures else 0


def _run(options: argparse.Namespace, extra: list[str]) -> int:
    # heavy: other commands spare it
    from fsbench.config.compose import parse
    from fsbench.engine.experiment import Experiment
    from fsbench.engine.runner import run

    run(Experiment(parse(extra)))
    return 0
