"""Published tests as protocols: composed of the parts that their words name, by the name `atlas:<test or program>`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from fsbench.base.errors import DataError, SettingsError, did_you_mean, known_names
from fsbench.base.plugins import package_files
from fsbench.protocols.conditions import (
    ATLAS_NAMES,
    BY_INDEX,
    COMPARED_AT,
    DATASET,
    DEPENDS_ON,
    EPISODE_DRAW,
    EPISODES,
    FB_IOU,
    FS_CS,
    GEOMETRY,
    IMAGE_LISTS,
    LISTS_OF_PFENET,
    METRIC,
    MIN_OBJECT,
    OWN_LISTS,
    SEEDS,
    TASK,
    VOID,
    Comparison,
    Condition,
    Score,
)
from fsbench.protocols.counting import PixelCounting
from fsbench.protocols.draws.listed import FREE_SETTINGS, Listed
from fsbench.protocols.episode_rules.streams import NETWORK, NumpyInWorkers, Seeds, parse_seeds
from fsbench.protocols.programs import FOLDER, PROGRAMS, Program, PublishedTest, read_programs, slug
from fsbench.protocols.protocol import Protocol, Published, Words
from fsbench.protocols.reading import ATLAS as PREFIX
from fsbench.protocols.reading import known_metrics, load_protocol, protocol_names
from fsbench.protocols.view import View
from fsbench.protocols.words import OTHERS
from fsbench.scores.metric import Metric
from fsbench.scores.scores import Accuracy

_VERSION = 1
_USUAL = {"workers": 8, "gpus": 1, "batch": 1}
"""Loader processes, GPUs and batch that most published commands have, where one does not state its own."""
_OF_DRAW = (IMAGE_LISTS, MIN_OBJECT, EPISODE_DRAW, EPISODES, DEPENDS_ON)
_MEASURED = (GEOMETRY, COMPARED_AT, VOID, METRIC, FB_IOU)


@cache
def programs() -> dict[str, Program]:
    """Return the evaluation programs of fsbench and of installed packages by their ids."""
    found: dict[str, Program] = {}
    for folder in (FOLDER, *(path.parent for path in package_files(Path("atlas", PROGRAMS)))):
        for program in read_programs(folder):
            if found.setdefault(program.id, program) is not program:
                raise DataError(
                    f"{folder / PROGRAMS} has the row {program.id} of another file; expected one; rename it"
                )
    return found


@cache
def published_tests() -> dict[str, PublishedTest]:
    """Return the published tests that programs run, by their keys."""
    return {program.test.key: program.test for program in programs().values()}


def programs_of(name: str) -> list[Program]:
    """Return the programs that run the published test of the protocol `name`."""
    key = name.removeprefix(PREFIX).partition("@")[0]
    return [program for program in programs().values() if program.test.key == key]


def test_names() -> list[str]:
    """Return the protocol names of all published tests that can be run ("atlas:…")."""
    return [PREFIX + key for key in published_tests() if is_runnable(key)]


def is_runnable(key: str) -> bool:
    """Return whether a published test, or that of a program such as `vat/pascal-5i`, can be run as a protocol."""
    return _reason(key) is None


def tests_of_program(name: str) -> list[str]:
    """Return the protocol names of a method's runnable tests; case and hyphens are ignored (dcsam is DC-SAM)."""
    wanted = slug(name).replace("-", "")
    tests = [one.test.key for id_, one in programs().items() if id_.partition("/")[0].replace("-", "") == wanted]
    return [PREFIX + key for key in tests if is_runnable(key)]


@cache
def protocol_of_test(name: str) -> Protocol:
    """Return the protocol that is composed from a published test.

    Args:
        name: `atlas:<method>/<data set>`, of any program that runs the test, written as `fsbench atlas` or the paper
            does, and optionally settings of `FREE_SETTINGS` such as `@workers=0` behind it.

    Raises:
        SettingsError: there is no such test, it cannot be run, or a setting is unknown or not a number.
    """
    asked, *settings = name.removeprefix(PREFIX).split("@")
    method, _, dataset = asked.rpartition("/")
    known = programs()
    program = known.get(f"{slug(method)}/{slug(dataset)}")
    if program is None:
        near = did_you_mean(asked[:100], tuple(known)) or "; expected <method>/<data set>"
        raise SettingsError(f"unknown row '{asked[:100]}' of the atlas{near} (see: fsbench list protocols {PREFIX})")
    return compose(program.test, _read_settings(name, settings))


@cache
def _reason(key: str) -> str | None:
    try:
        protocol_of_test(PREFIX + key)
    except SettingsError as error:
        return str(error)
    return None


def why_not_run() -> dict[str, str]:
    """Return {key: reason in words} for published tests that cannot be run."""
    return {key: reason for key in published_tests() if (reason := _reason(key)) is not None}


def compose(test: PublishedTest, settings: Mapping[str, Any]) -> Protocol:
    """Make a protocol from a published test.

    Args:
        test: the test.
        settings: values of `FREE_SETTINGS` that replace those of the published command.

    Raises:
        SettingsError: a word of the test has no part, or two words exclude each other; the message names the words.
    """
    try:
        protocol = _composed(test, settings)
        protocol.check()
        return protocol
    except SettingsError as error:
        own = _with_the_same_words(test)
        instead = f"the protocol {' or '.join(own)} has its words" if own else "choose another test"
        raise SettingsError(
            f"{PREFIX}{test.key} cannot be run: {error}; {instead} (fsbench list protocols {PREFIX})"
        ) from error


def _with_the_same_words(test: PublishedTest) -> list[str]:
    """Return the names of protocols with files of their own that state the lists, the draw and the metric of a test."""
    keys = (TASK.key, IMAGE_LISTS.key, EPISODE_DRAW.key, METRIC.key)
    wanted = [test.conditions[key] for key in keys]
    return [
        name
        for name in protocol_names()
        for dataset in (ours for ours, known in ATLAS_NAMES.items() if known == test.dataset)
        if (stated := load_protocol(name).conditions(dataset)) and [stated[key] for key in keys] == wanted
    ]


def _composed(test: PublishedTest, settings: Mapping[str, Any]) -> Protocol:
    words = dict(test.conditions)
    in_spirit: list[str] = []
    if words[IMAGE_LISTS.key] == OWN_LISTS.word and words[DATASET.key] == ATLAS_NAMES["isaid"]:
        words[IMAGE_LISTS.key] = LISTS_OF_PFENET.word
        in_spirit.append("its lists are its own; here they are by PFENet's rule")
    lists, _, drawn, number, depends = (one.obeyed(words[one.key]) for one in _OF_DRAW)
    seeds = Seeds(()) if test.seeds == BY_INDEX.word else parse_seeds(test.seeds)
    if seeds is None:
        raise SettingsError(f"{SEEDS.key} is '{test.seeds}', which is no form of seeds")
    hangs_on = [name for one in depends.part for name in one.settings]
    _check_settings(test, hangs_on, settings)
    values, unstated = _processes(test, hangs_on)
    values |= settings
    measured = measuring(words)
    if measured.metrics[0].by_run:  # of base and novel classes, which need other supports
        raise SettingsError(f"{METRIC.key} is '{test.metric}', one of base and novel classes at once")
    said = [*(one.in_spirit for one in depends.part), seeds.in_spirit, *unstated, *in_spirit, *measured.in_spirit]
    if values.get("network_words") or values.get("base_seeds"):
        said = [sentence for sentence in said if sentence != NETWORK.in_spirit]
    is_fscs = test.task == FS_CS.word
    draw = Listed(
        seed=seeds.values[0] if seeds.values else None,
        episodes={OTHERS: number.part},
        ways="any" if is_fscs else "one",
        empty_queries=is_fscs,
        further_seeds=seeds.values[1:],
        image_lists=lists.word,
        min_object=test.min_object,
        episode_draw=drawn.word,
        depends_on=depends.word,
        passes=test.passes,
        **values,
    )
    return Protocol(
        PREFIX + test.key + "".join(f"@{key}={_written(value)}" for key, value in sorted(settings.items())),
        _VERSION,
        f"as {', '.join(program.method for program in programs_of(test.key)) or test.key} tests on {test.dataset}",
        draw,
        measured.view,
        measured.counting,
        measured.metrics,
        tuple(metric.name for metric in measured.metrics),
        Words(in_spirit=tuple(dict.fromkeys(filter(None, said)))),
        Published(test.dataset, {key: word for key, word in test.conditions.items() if key != DATASET.key}),
    )


def meanings(condition: Condition) -> dict[str, str]:
    """Return {word: its meaning} of a condition, with the words of metrics of installed packages."""
    found = {value.word: value.sentence for value in condition.values}
    for metric in known_metrics().values() if condition in (METRIC, FB_IOU) else ():
        word = metric.atlas_metric if condition == METRIC else metric.atlas_fb_iou
        found |= {word: metric.meaning} if word else {}
    return found


@dataclass(frozen=True)
class Measuring:
    """How a test resizes images, counts pixels and computes scores.

    Attributes:
        view: how images, masks and ground truth are resized.
        counting: how pixels are counted.
        metrics: the scores that the program prints, the one that ranks first, and accuracy.
        in_spirit: sentences on what fsbench chooses where a word leaves a choice open.
    """

    view: View
    counting: PixelCounting
    metrics: tuple[Metric, ...]
    in_spirit: tuple[str, ...]


def measuring(words: Mapping[str, str]) -> Measuring:
    """Compose how a test resizes images, counts pixels and computes scores, from its words.

    Args:
        words: {key: word} with at least geometry, size of comparison, void, metric and FB-IoU; others are ignored.

    Raises:
        SettingsError: fsbench has no rule for a word, or the rules of two words exclude each other.
    """
    geometry, compared, void, ranks, pools = (one.obeyed(words[one.key]) for one in _MEASURED)
    size: Comparison = compared.part
    score: Score = ranks.part
    pooled: Score = pools.part
    if pooled.metric is not None and pooled.present_only != score.present_only:
        raise SettingsError(
            f"{METRIC.key} is '{ranks.word}' and {FB_IOU.key} '{pools.word}'; expected 'present only' in both or in "
            "none, as both follow from the same counts"
        )
    if score.present_only and void.part != "ignore":
        raise SettingsError(
            f"{METRIC.key} is '{ranks.word}' and {VOID.key} '{void.word}'; expected void pixels that are left out, as "
            "they are no part of the rule"
        )
    side = size.query_size
    if compared.choice and side == "original" and geometry.part == "padded":
        side = "square"  # of an answer in a letterbox no other rule was found
    return Measuring(
        View(geometry.part, side, size.frame, label_resize=size.label_resize),  # type: ignore[arg-type]
        PixelCounting("present" if score.present_only else void.part, score.absent),
        tuple(one for one in (score.metric, pooled.metric, Accuracy()) if one is not None),
        tuple(filter(None, (geometry.choice, compared.choice))),
    )


def _processes(test: PublishedTest, hangs_on: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that a test's episodes hang on, and in words those that the published command hides."""
    values: dict[str, Any] = {"workers": 0, "gpus": 1, "batch": 1, "network_words": 0}
    unstated = []
    for name in sorted(set(hangs_on) & set(values)):
        stated = getattr(test, name)
        if stated is not None:
            values[name] = stated
        elif name in _USUAL:
            values[name] = _USUAL[name]
            unstated.append(f"its row does not say how many {name} the published command has; here {values[name]}")
    return values, unstated


def _check_settings(test: PublishedTest, hangs_on: list[str], settings: Mapping[str, Any]) -> None:
    """Raise SettingsError for a setting on which the episodes of a test do not hang."""
    usable = [*hangs_on, *(["run"] if "base_seeds" in hangs_on else [])]  # the next run goes on where the last ended
    for name in settings:
        if name not in usable:
            raise SettingsError(
                f"{PREFIX}{test.key} has no setting {name}: its episodes hang on {', '.join(usable) or 'nothing'}; "
                "leave it out"
            )


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
