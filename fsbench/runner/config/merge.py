"""Merge the settings of a run from files and arguments, later ones over earlier ones, and look one up by its key.

Nothing is imported or built here, so that names and files are checked before torch is imported. Which keys and values
the classes of a run take is said by `fsbench.runner.config.parse` alone.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fsbench.base.errors import SettingsError, did_you_mean
from fsbench.datamodules.options import EpisodicTest, Loading, Training
from fsbench.runner.config.registry import config_files, read_settings, shipped_file

GROUPS = ("seed_everything", "task", "trainer", "model", "data", "run", "optimizer", "lr_scheduler")
"""First parts of a run's keys."""
DATASETS = ("dataset", "source", "validation_source")
"""Arguments of data modules that are data sets."""
ASKING = ("help", "print_config")
"""Last parts of arguments that show something instead of running."""


def merge_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings `first` with values replaced by those of `second`.

    Where `second` names another class, the arguments of the class in `first` are dropped.

    >>> merge_settings({"data": {"a": 1, "b": 2}}, {"data": {"b": 3}})
    {'data': {'a': 1, 'b': 3}}
    >>> merge_settings({"class_path": "A", "init_args": {"a": 1}}, {"class_path": "B"})
    {'class_path': 'B'}
    """
    if second.get("class_path", first.get("class_path")) != first.get("class_path"):
        first = {key: value for key, value in first.items() if key != "init_args"}
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge_settings(merged[key], value) if both else value
    return merged


def merge_files(files: Iterable[str | Path | Mapping[str, Any]]) -> dict[str, Any]:
    """Merge configuration files and settings, later ones overriding earlier ones.

    Args:
        files: paths of YAML files, or settings as nested dictionaries, in order.

    Returns:
        Nested settings as in the YAML files, without the defaults of classes.

    Raises:
        SettingsError: a file cannot be read, or has an unknown top-level key.
    """
    values: dict[str, Any] = {}
    for file in files:
        settings = file if isinstance(file, Mapping) else read_settings(shipped_file(file))
        check_groups(settings, str(file))
        _check_class_keys(settings, str(file))
        values = merge_settings(values, settings)
    return values


def check_groups(settings: Mapping[str, Any], place: str) -> None:
    """Raise SettingsError for an unknown top-level key, and for `run` or `trainer` without settings below it."""
    for key, value in settings.items():
        if key not in GROUPS:
            hint = did_you_mean(str(key), GROUPS) or f"; there are: {', '.join(GROUPS)}"
            raise SettingsError(f"{place} has the unknown key '{key}'{hint}")
        if key in ("run", "trainer") and not isinstance(value, Mapping):
            found = "null" if value is None else repr(value)
            raise SettingsError(
                f"{place}: {key} is {found}, expected settings by their keys; add some, or leave it out"
            )


_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
"""Keys of a class in a configuration."""


def _check_class_keys(values: Mapping[str, Any], place: str) -> None:
    """Raise SettingsError for a key that stands beside those of a class."""
    is_class = any(key in values for key in ("class_path", "init_args"))
    for key, value in values.items():
        if is_class and key not in _CLASS_KEYS:
            near = did_you_mean(str(key), _CLASS_KEYS)
            raise SettingsError(f"{place}: the key '{key}' is not one of a class ({', '.join(_CLASS_KEYS)}){near}")
        if isinstance(value, Mapping):
            _check_class_keys(value, f"{place}, {key}")


@cache
def shipped_settings(method: str, dataset: str, backbone: str | None = None) -> dict[str, Any]:
    """Return the merged settings of fsbench's configuration files for a run, without class defaults.

    The result is cached and must not be changed.

    Args:
        method, dataset, backbone: names of configs/methods (or an alias), configs/data and configs/backbones.

    Raises:
        SettingsError: a name is unknown, or the data set is for another task.
    """
    return merge_files(config_files(method, dataset, backbone=backbone))


def split_arguments(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield (key, value) for command-line arguments `--key=value` and `--key value`.

    The value is None if there is none; the key is empty for a word that belongs to no key.

    >>> list(split_arguments(["--data.image_size=64", "--trainer.max_epochs", "3", "--help", "x"]))
    [('data.image_size', '64'), ('trainer.max_epochs', '3'), ('help', 'x')]
    """
    words = deque("--help" if word == "-h" else word for word in arguments if word != "--")
    while words:
        word = words.popleft()
        if not word.startswith("--"):
            yield "", word
        elif "=" in word:
            key, _, value = word[2:].partition("=")
            yield key, value
        elif not words or words[0].startswith("--"):
            yield word[2:], None
        else:
            yield word[2:], words.popleft()


def parted_arguments(arguments: Sequence[str], options: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Split LightningCLI arguments into the files of `--config` and all other arguments.

    Args:
        arguments: such as `--config=FILE --data.image_size 64`.
        options: options of the command, to suggest for a misspelt argument.

    Returns:
        (paths given by `--config`, all other arguments), each in the order given.

    Raises:
        SettingsError: an argument has no value, or belongs to no group of settings.
    """
    files, others = [], []
    for key, value in split_arguments(arguments):
        first, last = key.removesuffix("+").split(".")[0], key.rpartition(".")[2]
        if not key or first not in (*GROUPS, "config", *ASKING):
            word = f"--{key}" if key else str(value)
            raise SettingsError(f"unrecognized arguments: {word}{_nearest(word.split('.')[0], options)}")
        if value is None and last not in ASKING:
            raise SettingsError(f"--{key} has no value; expected --{key}=VALUE")
        if key == "config":
            files.append(str(value))
        else:
            others.append(f"--{key}" if value is None else f"--{key}={value}")
    return files, others


OFTEN = (
    "trainer.max_epochs", "trainer.accelerator", "trainer.precision", "model.learning_rate",
    *(f"data.test.{one.name}" for one in EpisodicTest.arguments()),
    *(f"data.training.{one.name}" for one in fields(Training)),
    *(f"data.loading.{one.name}" for one in fields(Loading)),
)  # fmt: skip
"""Keys that people leave the groups of."""


def _nearest(word: str, options: Iterable[str]) -> str:
    """Return the end of a message about an unknown argument: the option or the key that is nearest to it."""
    keys = {key.rpartition(".")[2].replace("_", "-"): key for key in OFTEN}
    keys |= {"epochs": "trainer.max_epochs", "lr": "model.learning_rate"} | {name: name for name in (*GROUPS, *options)}
    near = get_close_matches(word.lstrip("-").replace("_", "-"), keys, 1)
    return f"; did you mean '--{keys[near[0]]}'?" if near else ""


def with_nulls(values: Mapping[str, Any], arguments: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Apply arguments such as `--key=null` to settings as None, since LightningCLI's parser reads `null` as a word.

    Args:
        values: nested settings.
        arguments: single settings, each `--key=value`.

    Returns:
        The settings with None where an argument is null, and the other arguments; arguments that a later null of the
        same key overrides are left out.

    >>> with_nulls({}, ["--run.name=a", "--run.name=null", "--run.force=true"])
    ({'run': {'name': None}}, ['--run.force=true'])
    """
    merged = dict(values)
    others: list[str] = []
    for argument in arguments:
        key, sign, text = argument.removeprefix("--").partition("=")
        parts = full_key(key)
        if sign and text and parts[0] in ("model", "data", "run") and _value(text) is None and not key.endswith("+"):
            others = [one for one in others if full_key(one.removeprefix("--").partition("=")[0]) != parts]
            merged = merge_settings(merged, nested(parts, None))
        else:
            others.append(argument)
    return merged, others


def stated_values(arguments: Iterable[str], as_texts: bool = False) -> dict[str, Any]:
    """Return arguments `--key=value` as nested settings, parsed as far as possible without the classes' types.

    Args:
        arguments: each of the form `--key=value`; `--key+=value` and requests for help are ignored.
        as_texts: whether to keep values as text, since only the class of a setting knows whether `1` is a number or a
            name.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        key, sign, text = argument.removeprefix("--").partition("=")
        if sign and not key.endswith("+"):
            parts, value = full_key(key), _value(text)
            value = text if as_texts and not isinstance(value, dict | list | None) else value
            if isinstance(value, str) and parts[-1] in ("model", "data", *DATASETS):
                parts = [*parts, "class_path"]
            values = merge_settings(values, nested(parts, value))
    return values


def _value(text: str) -> Any:
    """Return the value of a text on the command line; the text itself if it is not YAML."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def asks(arguments: Sequence[str]) -> bool:
    """Return whether command-line arguments request help or a print of the configuration instead of a run."""
    return any(key.rpartition(".")[2] in ASKING for key, _ in split_arguments(arguments))


def setting(values: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key such as `data.training.batch_size` in nested settings; None if not set."""
    return value_at(values, full_key(key))


def value_at(values: Mapping[str, Any], parts: Iterable[str]) -> Any:
    """Return the value at the nested keys `parts`; None if there is none."""
    value: Any = values
    for part in parts:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def full_key(key: str) -> list[str]:
    """Split a dotted key of the command line into the nested keys of a configuration file, with `init_args`.

    >>> full_key("data.dataset.root")
    ['data', 'init_args', 'dataset', 'init_args', 'root']
    """
    parts = key.split(".")
    inner = [part for part in parts[1:] if part != "init_args"]
    if parts[0] not in ("model", "data") or len(parts) == 1 or inner == ["class_path"]:
        return parts
    is_deep = parts[0] == "data" and len(inner) > 1 and inner[0] in DATASETS and inner[1] != "class_path"
    return [parts[0], "init_args", *([inner[0], "init_args", *inner[1:]] if is_deep else inner)]


def nested(parts: Iterable[str], value: Any) -> dict[str, Any]:
    """Return `{a: {b: value}}` for the parts (a, b)."""
    first, *rest = parts
    return {first: nested(rest, value) if rest else value}
