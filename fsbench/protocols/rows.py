"""Protocols of rows of the atlas: each evaluation program that parts can be composed to, by its name `atlas:<row>`."""

import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, get_args

from fsbench.base.errors import DataError, SettingsError, did_you_mean, known_names
from fsbench.base.plugins import package_files
from fsbench.protocols.atlas_words import LATE, MEASURED, PASSES, measuring, parse_count
from fsbench.protocols.conditions import ATLAS_NAMES, NOT_FOUND, Conditions
from fsbench.protocols.draws import by_word, lists
from fsbench.protocols.draws.listed import FREE_SETTINGS, Listed
from fsbench.protocols.draws.streams import NETWORK, NumpyInWorkers, dependences, parse_seeds
from fsbench.protocols.program_rows import slug
from fsbench.protocols.programs import FOLDER, Program, read_programs
from fsbench.protocols.protocol import AtlasRow, Protocol, Words
from fsbench.protocols.reading import ATLAS as PREFIX
from fsbench.protocols.reading import load_protocol, protocol_names
from fsbench.protocols.words import OTHERS

_VERSION = 1
_WORKERS = 8
"""Loader processes where a row names none: most programs have so many."""

_STATED = {
    "gpus": re.compile(r"\b(\d+) GPUs\b"),
    "batch": re.compile(r"\bbatch of (\d+)\b"),
    "network_words": re.compile(r"\btakes (\d+) words of torch's generator\b"),
}
"""Words in the quirks of a row for settings of its published command."""


class _Unfit(Exception):
    """A word of a row of which there is no part.

    Args:
        column: the column of the row.
        word: the word that it has there.
        why: more about it.
    """

    def __init__(self, column: str, word: str, why: str = ""):
        super().__init__(f"its {column} is '{word}'" + (f", {why}" if why else ""))
        self.column, self.word, self.why = column, word, why


_WHY = {
    NOT_FOUND: "so that nobody can run it",
    "own": "data of its own",
    "gfss": "a test of base and novel classes at once",
    "pooled over batches with background": "its sums run over batches, of which the counts of episodes know nothing; "
    "cdfss_ifa has it as IFA-figure",
    "class-pooled mIoU, best threshold": "it needs a score for each pixel, and answers are label maps",
}


def row_names() -> list[str]:
    """Return the protocol names of all rows of the atlas of evaluation programs that can be run ("atlas:…")."""
    return [PREFIX + row for row in _rows() if is_runnable(row)]


def is_runnable(row: str) -> bool:
    """Return whether a row of the atlas (published programs), such as `hsnet/pascal-5i`, can be run as a protocol."""
    return _reason(row) is None


def rows_of_program(name: str) -> list[str]:
    """Return the protocol names of a method's runnable rows; case and hyphens are ignored (dcsam is DC-SAM)."""
    wanted = slug(name).replace("-", "")
    rows = [row for row in _rows() if row.partition("/")[0].replace("-", "") == wanted]
    return [PREFIX + row for row in rows if is_runnable(row)]


@cache
def protocol_of_row(name: str) -> Protocol:
    """Return the protocol that is made from a row of the atlas, the table of published evaluation programs.

    Args:
        name: `atlas:<method>/<data set>`, written as `fsbench atlas` or the paper does, and optionally settings of
            `FREE_SETTINGS` such as `@workers=0` behind it.

    Raises:
        SettingsError: there is no such row, it cannot be run, or a setting is unknown or not a number.
    """
    row, *settings = name.removeprefix(PREFIX).split("@")
    method, _, dataset = row.rpartition("/")
    known = _rows()
    program = known.get(f"{slug(method)}/{slug(dataset)}")
    if program is None:
        near = did_you_mean(row[:100], tuple(known)) or "; expected <method>/<data set>"
        raise SettingsError(f"unknown row '{row[:100]}' of the atlas{near} (see: fsbench list protocols {PREFIX})")
    return compose(program, _read_settings(name, settings))


@cache
def _rows() -> dict[str, Program]:
    """Return the rows of fsbench and of installed packages by their ids."""
    found: dict[str, Program] = {}
    for path in (FOLDER / "conditions.csv", *package_files(Path("atlas", "conditions.csv"))):
        for program in read_programs(path):
            if found.setdefault(program.id, program) is not program:
                raise DataError(
                    f"{path} has the row {program.id}, which another file has, too; expected one; rename it"
                )
    return found


def _reason(row: str) -> str | None:
    """Return why a row cannot be run; None if it can."""
    try:
        protocol_of_row(PREFIX + row)
    except SettingsError as error:
        return str(error)
    return None


def why_not_run() -> dict[str, str]:
    """Return {row: reason in words} for rows of the atlas (table of published programs) that cannot be run."""
    return {row: reason for row in _rows() if (reason := _reason(row)) is not None}


def row_of(name: str) -> Program:
    """Return the row of the atlas (table of published programs) that the protocol `name` was made from."""
    return _rows()[name.removeprefix(PREFIX).partition("@")[0]]


def compose(row: Program, settings: Mapping[str, Any]) -> Protocol:
    """Make a protocol from a row of the atlas, the table of published evaluation programs.

    Args:
        row: the row.
        settings: values of `FREE_SETTINGS` that replace those of the published command.

    Raises:
        SettingsError: fsbench has no rule for a word of the row, or two words exclude each other; the message names the
            words.
    """
    name = PREFIX + row.id + "".join(f"@{key}={_written(value)}" for key, value in sorted(settings.items()))
    _check_settings(row, settings)
    try:
        return _compose(row, name, settings)
    except _Unfit as unfit:
        reason = f": {_WHY[unfit.word]}" if unfit.word in _WHY else ", for which there is no rule"
        why = f"{unfit}" + ("" if unfit.why else reason)
    except SettingsError as error:
        why = str(error)
    own = _with_the_same_words(row)
    instead = (
        f"the protocol {' or '.join(own)} has its words"
        if own
        else f"choose another row (fsbench list protocols {PREFIX})"
    )
    raise SettingsError(f"{PREFIX}{row.id} cannot be run: {why}; {instead}")


def _with_the_same_words(row: Program) -> list[str]:
    """Return the names of protocols with files of their own that state the lists, the draw and the metric of a row."""
    datasets = [ours for ours, name in ATLAS_NAMES.items() if name == row.dataset]
    words = (row.task, row.image_lists, row.episode_draw, row.metric)
    found = []
    for name in protocol_names():
        stated = [load_protocol(name).conditions(dataset) for dataset in datasets]
        if words in [(one.task, one.image_lists, one.episode_draw, one.metric) for one in stated]:
            found.append(name)
    return found


def _compose(row: Program, name: str, settings: Mapping[str, Any]) -> Protocol:
    image_lists, own_lists = row.image_lists, []
    if row.image_lists == "own" and row.dataset == "iSAID-5i":  # which has no lists of others
        image_lists, own_lists = "pfenet", ["its lists are its own; here they are by PFENet's rule"]
    if image_lists not in lists.ATLAS:
        raise _Unfit("image_lists", image_lists)
    seeds, count = parse_seeds(row.seeds), parse_count(row.episodes_per_fold)
    if seeds is None:
        raise _Unfit("seeds", row.seeds, "" if row.seeds == NOT_FOUND else "no form of seeds that parts know")
    if count is None:
        raise _Unfit("episodes_per_fold", row.episodes_per_fold, "no number of episodes")
    if row.depends_on == NOT_FOUND:
        raise _Unfit("depends_on", row.depends_on)
    if row.episode_draw not in by_word.ATLAS:
        raise _Unfit("episode_draw", row.episode_draw)
    if row.min_object == NOT_FOUND:
        raise _Unfit("min_object", row.min_object)
    processes, unstated = _processes(row)
    values = processes | dict(settings)
    words = {column: getattr(row, column) for column in MEASURED}
    for column, known in MEASURED.items():
        if words[column] not in known or known[words[column]].part is None:
            raise _Unfit(column, words[column])
    measured = measuring(words)
    open_words = [one.in_spirit for one in dependences(row.depends_on) if one.in_spirit]
    spirit = [*open_words, *([seeds.in_spirit] if seeds.in_spirit else []), *unstated, *own_lists, *measured.in_spirit]
    if values.get("network_words") or values.get("base_seeds"):
        spirit = [words for words in spirit if words != NETWORK.in_spirit]
    if measured.metrics[0].by_run:  # of base and novel classes, for which lists of pairs have no supports
        raise SettingsError(f"its metric '{row.metric}' is one of base and novel classes at once")
    draw = Listed(
        seed=seeds.values[0] if seeds.values else None,
        episodes={OTHERS: count},
        ways="any" if row.task == "FS-CS" else "one",
        empty_queries=row.task == "FS-CS",
        further_seeds=seeds.values[1:],
        image_lists=image_lists,
        min_object=row.min_object,
        episode_draw=row.episode_draw,
        depends_on=row.depends_on,
        passes=PASSES if LATE in row.quirks else None,
        **values,
    )
    said = Words(in_spirit=tuple(dict.fromkeys(spirit)))
    conditions = Conditions(**{one.name: getattr(row, one.name) for one in fields(Conditions)})
    protocol = Protocol(
        name,
        _VERSION,
        f"as {row.program} of {row.method} tests on {row.dataset}",
        draw,
        measured.view,
        measured.counting,
        tuple(measured.metrics),
        tuple(metric.name for metric in measured.metrics),
        said,
        AtlasRow(row.dataset, conditions),
    )
    protocol.check()
    return protocol


def _processes(row: Program) -> tuple[dict[str, int], list[str]]:
    """Return the settings that a row's episodes hang on, as the published command has them.

    Returns:
        Their values, and in words those that the row does not state.
    """
    values, unstated = {"workers": 0, "gpus": 1, "batch": 1, "network_words": 0}, []
    hangs_on = {name for one in dependences(row.depends_on) for name in one.settings}
    for name in hangs_on & set(values):
        stated = row.workers if name == "workers" else _first_number(_STATED[name], row.quirks)
        if stated.isdecimal():
            values[name] = int(stated)
            continue
        if name == "network_words":
            continue  # the dependence itself says what follows
        values[name] = _WORKERS if name == "workers" else 1
        unstated.append(f"its row does not say how many {name} the published command has; here {values[name]}")
    return values, sorted(unstated)


def _check_settings(row: Program, settings: Mapping[str, Any]) -> None:
    """Raise SettingsError for a setting on which the episodes of a row do not hang."""
    hangs_on = [name for one in dependences(row.depends_on) for name in one.settings]
    if "base_seeds" in hangs_on:
        hangs_on.append("run")  # the next run goes on where the last one ended
    for name in settings:
        if name not in hangs_on:
            raise SettingsError(
                f"{PREFIX}{row.id} has no setting {name}: its episodes hang on {', '.join(hangs_on) or 'nothing'}; "
                "leave it out"
            )


def _first_number(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _read_settings(name: str, settings: list[str]) -> dict[str, Any]:
    """Return the settings behind a name; SettingsError for what is none."""
    found: dict[str, Any] = {}
    for one in settings:
        key, _, text = one.partition("=")
        if key not in FREE_SETTINGS:
            raise SettingsError(f"{name} has the setting '{key}'{known_names(key, FREE_SETTINGS)}")
        if key == "numpy_in_workers":
            if text not in get_args(NumpyInWorkers):
                raise SettingsError(f"{name}: {key} is '{text}', expected {' or '.join(get_args(NumpyInWorkers))}")
            found[key] = text
            continue
        numbers = text.split("+")
        if not all(re.fullmatch(r"\d{1,19}", number, re.ASCII) for number in numbers):
            raise SettingsError(f"{name}: {key} is '{text}', expected a number, or several with + between")
        if key != "base_seeds" and len(numbers) > 1:
            raise SettingsError(f"{name}: {key} is '{text}', expected one number")
        found[key] = tuple(map(int, numbers)) if key == "base_seeds" else int(text)
    return found


def _written(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
