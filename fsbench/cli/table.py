"""`fsbench table`: finished runs: their scores, by another protocol's rules, or by shots, draws and annotations."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import RecordError, SettingsError, say_left_out
from fsbench.base.terminal import print_block, print_line, print_next, text_width
from fsbench.cli.options import add_file_options, add_runs, add_table_options
from fsbench.cli.rescoring import add_rule_options, show_rescored
from fsbench.records.grouping import settings_text
from fsbench.records.record import Record, read_record
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.results.published.at_hand import is_in_atlas, near_runs, stands_alone
from fsbench.results.rows.row import OBJECTS
from fsbench.results.sheets.formats import write_sheets
from fsbench.results.studies.sweep.axes import AXES
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.breakdowns import BREAKDOWNS, SINGLE
from fsbench.runs import asked_metrics, load_runs

FILES = ("run.json", "episodes.parquet", "predictions.parquet", "predictions.png", "run.log")

RULES = ("protocol", "void", "resolution", "objects", "claimed")
"""Options that score runs by another rule."""

KINDS = {
    **dict.fromkeys(BREAKDOWNS, "scores"),
    **dict.fromkeys(AXES, "numbers"),
    OBJECTS: "objects",
    "draw": "draw",
    "annotation": "annotation",
}
"""Word of --by -> kind of table."""

_SHOWN = ("plot", "out", "caption")
TAKES = {
    "scores": ("metrics", "by_class", "trainings", "all", "published", "no_trivial", "rank_all"),
    "rules": (*RULES, "data_root"),
    "numbers": _SHOWN,
    "objects": _SHOWN,
    "draw": ("no_properties", "similarity", *_SHOWN),
    "annotation": ("metrics", *_SHOWN),
}
"""Kind of table -> the options that it takes beside --by and --format."""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_runs(parser)
    add_table_options(parser, more_breakdowns=[word for word in KINDS if word not in BREAKDOWNS])
    add_rule_options(parser)
    studies = parser.add_argument_group(
        "runs that differ in only one thing",
        "--by shots, ways, side, kept: score, time and memory by this number. --by objects: score by the number of "
        "objects in the query. --by draw: how far scores depend on the choice of the supports. --by annotation: how "
        "much weaker annotations of the supports cost.",
    )
    add_file_options(studies)
    studies.add_argument("--caption", metavar="TEXT", default="", help="line below the figure")
    studies.add_argument(
        "--no-properties", action="store_true", help="with --by draw: leave out what good supports have in common"
    )
    studies.add_argument(
        "--similarity",
        action="store_true",
        help="with --by draw: also measure, by the run's network, how much supports are like the query",
    )
    parser.set_defaults(function=_table)


def _table(options: argparse.Namespace, extra: list[str]) -> int:
    kind = _kind(options)
    if kind == "scores":
        return say_left_out(print_table(options.runs, options))
    if kind == "rules":
        return show_rescored(options)
    from fsbench.cli import studies  # with SciPy's statistics, which a table of scores spares

    shows = {
        "numbers": studies.by_number,
        "objects": studies.by_objects,
        "draw": studies.by_draw,
        "annotation": studies.by_annotation,
    }
    return shows[kind](options)


def _kind(options: argparse.Namespace) -> str:
    """Return the kind of table that is asked for. Raises SettingsError for options that do not go together."""
    given = [
        name for name in dict.fromkeys(name for names in TAKES.values() for name in names) if options.__dict__[name]
    ]
    ruled = [name for name in RULES if name in given]
    if "claimed" in ruled and len(ruled) > 1:
        raise SettingsError(
            f"--claimed and {_flag(ruled[0])} were both given; --claimed shows every such rule by itself"
        )
    kinds = list(dict.fromkeys(KINDS[word] for word in options.by))
    if ruled and kinds:
        raise SettingsError(f"{_flag(ruled[0])} and --by {options.by[0]} were both given; expected one of them")
    if len(kinds) > 1:
        words = ", ".join(dict.fromkeys(options.by))
        raise SettingsError(f"--by was given {words}, which do not fit into one table; expected one of them at a time")
    kind = "rules" if ruled else kinds[0] if kinds else "scores"
    for name in given:
        if name not in TAKES[kind]:
            asked = _flag(ruled[0]) if ruled else f"--by {options.by[0]}" if kinds else "a table of scores"
            raise SettingsError(f"{_flag(name)} was given with {asked}; expected it with {_takers(name)}")
    return kind


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _takers(name: str) -> str:
    """Name the tables that take an option."""
    kinds = [kind for kind, names in TAKES.items() if name in names]
    words = [f"--by {word}" for word, kind in KINDS.items() if kind in kinds and kind != "scores"]
    words += [_flag(rule) for rule in RULES if "rules" in kinds]
    return " or ".join([*["a table of scores"] * ("scores" in kinds), *words])


def check_metrics(options: argparse.Namespace) -> None:
    """Raise SettingsError if --metrics names an unknown score."""
    asked_metrics(options.metrics)


def print_table(folders: Sequence[Path], options: argparse.Namespace) -> list[str]:
    """Print the table of the runs in `folders`; return messages about damaged runs, which are left out."""
    runs = load_runs(*folders)
    by = (
        ["all"]
        if options.all
        else [
            *options.by,
            *(["class"] if options.by_class else []),
            *([SINGLE] if options.trainings else []),
        ]
    )
    table = runs.table(
        options.metrics,
        by,
        published=options.published,
        trivial=not options.no_trivial,
        rank_all=options.rank_all,
        complete=options.format in ("csv", "json"),
    )
    print_block(table.write(options.format, *text_width()))
    if options.published and options.format == "text" and stands_alone(runs.records):
        known = [record for record in runs.records if is_in_atlas(record)]
        print_block(write_sheets("text", [near.sheet(1) for near in near_runs(known, shipped_atlas())], *text_width()))
    if options.format == "text":
        for record in runs.records if options.all else []:
            print_line(f"{record.path}: {', '.join(name for name in FILES if (record.path / name).is_file())}")
        print_next(_next_commands(folders, runs.records, table.blocks))
    return runs.left_out


def _has_rivals(folder: Path, records: Sequence[Record]) -> bool:
    """Return whether `folder` has a run of another method, or of other settings, on the episodes of one of `records`.

    Only their `run.json` is read; damaged runs do not count.
    """
    settings: dict[str, set[str]] = {}
    for record in records:
        settings.setdefault(record.manifest_sha256, set()).add(_settings(record))
    ours = {record.path for record in records}
    for path in (file.parent for file in sorted(folder.glob("*/run.json")) if file.parent not in ours):
        try:
            other = read_record(path)
        except RecordError:
            continue
        if other is not None and {_settings(other)} - settings.get(other.manifest_sha256, {_settings(other)}):
            return True
    return False


def _settings(record: Record) -> str:
    return f"{record.run.identity.method.name} {settings_text(record)}"


def _next_commands(folders: Sequence[Path], records: Sequence[Record], blocks: Sequence[Block]) -> list[str]:
    """Return the commands to go on with, a comparison or the whole table, and pages, of folders of these runs alone."""
    parents = list(dict.fromkeys(record.path.parent for record in records))
    alone = len(folders) > 1 and len(parents) == 1 and len(list(parents[0].glob("*/run.json"))) == len(records)
    if not alone and len(parents) == 1 and _has_rivals(parents[0], records):
        parent = shlex.quote(str(parents[0]))
        return [f"fsbench compare {parent}", f"fsbench report {parent}"]
    if len(folders) > 2 and not alone:
        return [f"fsbench report {shlex.join(map(str, parents))}"]
    shown = shlex.join(map(str, parents if alone else dict.fromkeys(folders)))
    methods = max(len({method for method, _ in block.method_lines}) for block in blocks)
    first = f"fsbench compare {shown}" if methods > 1 else f"fsbench table {shown} --all"
    return [first, f"fsbench report {shown}"]
