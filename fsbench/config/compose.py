"""Merge what a run is configured by: files in YAML and arguments of the command line, later ones over earlier ones.

Nothing is imported or built here, so that names, numbers and files are checked before torch is imported. Which keys and
values the classes of a run take is said by `fsbench.config.build` alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fsbench.config.data_options import DATASETS, flat_values
from fsbench.config.registry import config_files, read_settings
from fsbench.errors import FsbenchError, SettingsError, did_you_mean

GROUPS = ("seed_everything", "task", "trainer", "model", "data", "run", "optimizer", "lr_scheduler")
"""First parts of a run's keys."""
ASKING = ("help", "print_config")
"""Last parts of arguments that show something instead of running."""
CLASSES = ("model", "data", "dataset", "source")
"""Keys whose values are classes; a text there is the class's name, or a file with its settings."""


@dataclass
class Configuration:
    """The settings of one run, before anything knows which of them its classes take.

    Attributes:
        values: nested values, as the YAML files have them; not to be changed.
        parts: the same for the parser, in order: mappings, and arguments that it alone understands. Texts of the
            command line are still texts. A new part begins where a class is replaced by another.
        problems: what is wrong with files and with the first words of keys.
    """

    values: dict[str, Any] = field(default_factory=dict)
    parts: list[dict[str, Any] | str] = field(default_factory=list)
    problems: list[FsbenchError] = field(default_factory=list)

    def add(self, values: Mapping[str, Any], texts: Mapping[str, Any] | None = None) -> None:
        """Put settings over those that are there.

        Args:
            values: nested values.
            texts: the same with texts of the command line that are not read yet.
        """
        texts = flat_values(_with_class_paths(values if texts is None else texts), self.values)
        values = flat_values(_with_class_paths(values), self.values)
        last = self.parts[-1] if self.parts else None
        if isinstance(last, dict) and not _replaces_class(self.values, values):
            self.parts[-1] = merge_settings(last, texts)
        else:
            self.parts.append(dict(texts))
        self.values = merge_settings(self.values, values)

    def add_file(self, file: str) -> None:
        """Put the settings of a YAML file over those that are there, or note what is wrong with it."""
        try:
            given = read_settings(Path(file))
            self.add(given)
        except SettingsError as error:
            self.problems.append(error)
            return
        for key in map(str, given):
            if key not in GROUPS:
                hint = did_you_mean(key, GROUPS) or f"; there are: {', '.join(GROUPS)}"
                self.problems.append(SettingsError(f"{file} has the unknown key '{key}'{hint}"))


def compose(
    arguments: Sequence[str], options: Iterable[str] = (), below: Mapping[str, Any] | None = None
) -> Configuration:
    """Merge the configuration files and settings that arguments name.

    Args:
        arguments: in LightningCLI's form, `--config=FILE` and `--group.key=value`.
        options: options of the command that a misspelt argument may have meant.
        below: settings that the arguments come on top of.
    """
    configuration = Configuration()
    configuration.add(below or {})
    for key, text in split_arguments(arguments):
        parts = full_key(key.removesuffix("+"))
        if not key or parts[0] not in (*GROUPS, "config", *ASKING):
            word = f"--{key}" if key else str(text)
            known = [f"--{name}" for name in (*options, *GROUPS)]
            problem = f"unrecognized arguments: {word}{did_you_mean(word.split('.')[0], known)}"
            configuration.problems.append(SettingsError(problem))
        elif parts[-1] in ASKING:
            configuration.parts.append(f"--{key}" if text is None else f"--{key}={text}")
        elif text is None:
            configuration.problems.append(SettingsError(f"--{key} has no value; expected --{key}=VALUE"))
        elif key == "config":
            configuration.add_file(text)
        elif key.endswith("+") or _is_of_an_object(parts):
            configuration.parts.append(f"--{key}={text}")
        else:
            value = parse_value(text) if text else text
            is_read = value is None or isinstance(value, dict | list)
            try:
                configuration.add(nested(parts, value), nested(parts, value if is_read else text))
            except SettingsError as error:
                configuration.problems.append(error)
    return configuration


@cache
def shipped_settings(method: str, dataset: str, backbone: str | None = None) -> dict[str, Any]:
    """Merge the files of a run's configuration; class defaults are not known here.

    Args:
        method, dataset, backbone: names of configs/methods (or an alias), configs/data and configs/backbones.

    Raises:
        SettingsError: a name is unknown, or the data set is for another task.
    """
    merged: dict[str, Any] = {}
    for file in config_files(method, dataset, backbone=backbone):
        merged = merge_settings(merged, read_settings(file))
    return merged


def split_arguments(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield (key, value) of `--key=value` and `--key value`.

    The value is None where there is none; the key is empty for a word that belongs to no key.
    """
    words = iter(["--help" if word == "-h" else word for word in arguments] + ["--"])
    word = next(words)
    while word != "--":
        following = next(words)
        if not word.startswith("--"):
            yield "", word
        elif "=" in word:
            key, _, value = word[2:].partition("=")
            yield key, value
        elif following.startswith("--"):
            yield word[2:], None
        else:
            yield word[2:], following
            following = next(words)
        word = following


def asks(arguments: Sequence[str]) -> bool:
    """Return whether the arguments ask for help or the configuration instead of a run."""
    return any(key.rpartition(".")[2] in ASKING for key, _ in split_arguments(arguments))


def merge_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return `first` with the entries of `second`; another `class_path` drops the arguments of the class before."""
    if second.get("class_path", first.get("class_path")) != first.get("class_path"):
        first = {key: value for key, value in first.items() if key != "init_args"}
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge_settings(merged[key], value) if both else value
    return merged


def parse_value(text: str) -> Any:
    """Return the value that a text on the command line stands for; the text itself where it is no YAML."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def setting(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key such as `data.batch_size`; None where it is not stated."""
    return value_at(values, full_key(key))


def value_at(values: Mapping[str, Any], parts: Iterable[str]) -> Any:
    """Return the value at `parts` of nested values; None where there is none."""
    value: Any = values
    for part in parts:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def full_key(key: str) -> list[str]:
    """Split a key of the command line, which leaves `init_args` out, into its parts in a file."""
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


def _is_of_an_object(parts: Sequence[str]) -> bool:
    """Return whether a key sets an argument of a callback, a logger or an optimiser."""
    return len(parts) > {"trainer": 2, "optimizer": 1, "lr_scheduler": 1}.get(parts[0], len(parts))


def _with_class_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write a class that is given by its name alone, or by a file with its settings, as a mapping."""
    result = dict(values)
    for key in CLASSES:
        if isinstance(text := result.get(key), str):
            is_file = text.endswith((".yaml", ".yml", ".json"))
            result[key] = read_settings(Path(text)) if is_file else {"class_path": text}
    for key in ("data", "init_args"):
        if isinstance(result.get(key), Mapping):
            result[key] = _with_class_paths(result[key])
    return result


def _replaces_class(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether `second` names another class where `first` names one."""
    if second.get("class_path", first.get("class_path")) != first.get("class_path"):
        return "class_path" in first
    pairs = ((first.get(key), value) for key, value in second.items())
    return any(_replaces_class(a, b) for a, b in pairs if isinstance(a, Mapping) and isinstance(b, Mapping))
