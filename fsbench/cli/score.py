"""`fsbench score`: the answers of any program to a test, counted as those of every run."""

import argparse
from pathlib import Path

from fsbench.base.errors import SettingsError, say_left_out
from fsbench.cli.options import add_data_options, add_runs_folder, add_table_options, given_lists, given_root
from fsbench.cli.table import print_table
from fsbench.protocols.kit.kit import check_kit, count_episodes, read_kit
from fsbench.protocols.test import Test
from fsbench.runner.config.tests import load_test
from fsbench.runner.evaluation.kits import load_kit_test
from fsbench.runner.evaluation.score import score


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "answers",
        nargs="+",
        type=Path,
        help="files that answers.py of the kit wrote, or folders with <number of the episode>.png for each episode",
    )
    parser.add_argument("--kit", type=Path, help="folder of the kit that the answers belong to")
    parser.add_argument(
        "--manifest", type=Path, help="file of the episodes that the answers belong to, instead of a kit"
    )
    parser.add_argument("--dataset", help="data set to use instead of the one that the kit or the manifest names")
    add_data_options(parser)
    parser.add_argument("--name", required=True, help="name of the method in tables")
    parser.add_argument(
        "--card",
        type=Path,
        help="file that says how the method was trained and chosen (see: fsbench bundle --new-card card.yaml)",
    )
    add_runs_folder(parser)
    parser.add_argument(
        "--partial",
        action="store_true",
        help="allow episodes without an answer; the run is then a trial, which is not ranked",
    )
    add_table_options(parser)
    parser.set_defaults(function=_score)


def _score(options: argparse.Namespace, extra: list[str]) -> int:
    result = score(
        options.answers,
        _answered_test(options),
        name=options.name,
        runs=options.runs,
        card=options.card,
        partial=options.partial,
    )
    return say_left_out(print_table([result.record.path], options))


def _answered_test(options: argparse.Namespace) -> Test:
    """Open the test that is answered. Raises SettingsError unless one is named."""
    if (options.kit is None) == (options.manifest is None):
        found = "neither --kit nor --manifest" if options.kit is None else "--kit and --manifest"
        raise SettingsError(f"found {found}; expected one of them: the kit or the episodes that the answers belong to")
    if options.kit is None:
        return load_test(
            options.dataset, root=given_root(options), lists=given_lists(options), manifest=options.manifest
        )
    kit = read_kit(options.kit)
    check_kit(options.kit, kit)
    return load_kit_test(
        kit, options.dataset, root=given_root(options), lists=given_lists(options), most=count_episodes(options.kit)
    )
