"""Merge what a run is configured by: files in YAML and arguments of the command line, later ones over earlier ones.

Nothing is imported or built here, so that names, numbers and files are checked before torch is imported. Which keys and
values the classes of a run take is said by `fsbench.runner.config.build` alone.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fsbench.base.errors import FsbenchError, SettingsError, did_you_mean
from fsbench.runner.config.data_options import DATASETS, flat_values
from fsbench.runner.config.registry import config_files, read_settings, shipped_file

GROUPS = ("seed_everything", "task", "trainer", "model", "data", "run", "optimizer", "lr_scheduler")
"""First parts of a run's keys."""
ASKING = ("help", "print_config")
"""Last parts of arguments that show something instead of running."""
CLASSES = ("model", "data", "dataset", "source", "validation_source")
"""Keys whose values are classes; a text there is the class's name, or a file with its settings."""


@dataclass
class Configuration:
    """The settings of one run, before anything knows which of them its classes take.

    Attributes:
        values: nested values, as the YAML files have them; not to be changed.
        parts: the same for the parser, in order. A new part begins where a class is replaced by another, since only the
            parser's side knows which arguments the other takes. A scalar of the command line is still a text there: its
            class knows whether `1` is a number or a name.
        asks: arguments that ask for help or the configuration instead of a run.
        problems: what is wrong with files and with the first words of keys.
    """

    values: dict[str, Any] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    problems: list[FsbenchError] = field(default_factory=list)

    def add(self, values: Mapping[str, Any], typed: Mapping[str, Any] | None = None) -> None:
        """Put settings over those that are there.

        Args:
            values: nested values.
            typed: the same with scalars of the command line as they were typed.

        Raises:
            SettingsError: a file that stands for a class cannot be read.
        """
        typed = self._as_known(values if typed is None else typed)
        values = self._as_known(values)
        if self.parts and not _replaces_class(self.values, values):
            self.parts[-1] = merge_settings(self.parts[-1], typed)
        else:
            self.parts.append(dict(typed))
        self.values = merge_settings(self.values, values)

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        """Put values by their dotted keys, such as `data.way`, over those that are there; raises as `add`."""
        for key, value in settings.items():
            self.add(nested(full_key(key), value))

    def _as_known(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values with classes as mappings, and with flat keys of the group `data`."""
        return flat_values(_with_class_paths(values), self.values)

    def add_file(self, file: str | Path) -> None:
        """Put the settings of a YAML file over those that are there, or note what is wrong with it."""
        try:
            given = read_settings(shipped_file(file))
            self.add(given)
        except SettingsError as error:
            self.problems.append(error)
            return
        for key in map(str, given):
            if key not in GROUPS:
                hint = did_you_mean(key, GROUPS) or f"; there are: {', '.join(GROUPS)}"
                self.problems.append(SettingsError(f"{file} has the unknown key '{key}'{hint}"))

    def add_arguments(self, arguments: Sequence[str], options: Iterable[str] = ()) -> None:
        """Put arguments over what is there, or note what is wrong with them; see `compose`."""
        for key, text in split_arguments(arguments):
            parts = full_key(key.removesuffix("+"))
            if not key or parts[0] not in (*GROUPS, "config", *ASKING):
                word = f"--{key}" if key else str(text)
                known = [f"--{name}" for name in (*options, *GROUPS)]
                problem = f"unrecognized arguments: {word}{did_you_mean(word.split('.')[0], known)}"
                self.problems.append(SettingsError(problem))
            elif parts[-1] in ASKING:
                self.asks.append(f"--{key}" if text is None else f"--{key}={text}")
            elif text is None:
                self.problems.append(SettingsError(f"--{key} has no value; expected --{key}=VALUE"))
            elif key == "config":
                self.add_file(text)
            else:
                try:
                    self._add_text(parts, text, appends=key.endswith("+"))
                except SettingsError as error:
                    self.problems.append(error)

    def _add_text(self, parts: Sequence[str], text: str, appends: bool) -> None:
        """Read the value of an argument and put it over what is there."""
        value = parse_value(text) if text else text
        typed = value if value is None or isinstance(value, dict | list) else text
        owner = {"trainer": 2, "optimizer": 1, "lr_scheduler": 1}.get(parts[0], len(parts))
        if appends:
            there = _listed(value_at(self.values, parts))
            self.add(nested(parts, [*there, *_listed(typed)]))
        elif len(parts) > owner:  # an argument of a callback, a logger or an optimiser; of several, of the last one
            there = value_at(self.values, parts[:owner])
            *others, last = _listed(there) or [None]
            changed = _with_argument(last, parts[owner:], typed)
            self.add(nested(parts[:owner], [*others, changed] if isinstance(there, list) else changed))
        else:
            self.add(nested(parts, value), nested(parts, typed))


def compose(arguments: Sequence[str], options: Iterable[str] = ()) -> Configuration:
    """Merge the configuration files and settings that arguments name.

    Args:
        arguments: in LightningCLI's form, `--config=FILE` and `--group.key=value`.
        options: options of the command that a misspelt argument may have meant.
    """
    configuration = Configuration()
    configuration.add_arguments(arguments, options)
    return configuration


def compose_values(files: Iterable[str | Path], settings: Mapping[str, Any]) -> Configuration:
    """Merge configuration files, and over them values by their dotted keys, such as `data.way`.

    Raises SettingsError where a value names a file that cannot be read.
    """
    configuration = Configuration()
    for file in files:
        configuration.add_file(file)
    configuration.add_settings(settings)
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
    """Yield (key, value) of `--key=value` and `--key value`, also of those behind a `--`.

    The value is None where there is none; the key is empty for a word that belongs to no key.
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


def asks(arguments: Sequence[str]) -> bool:
    """Return whether the arguments ask for help or the configuration instead of a run."""
    return any(key.rpartition(".")[2] in ASKING for key, _ in split_arguments(arguments))


def merge_settings(
    first: Mapping[str, Any], second: Mapping[str, Any], kept: Callable[[str, Mapping[str, Any]], Any] | None = None
) -> dict[str, Any]:
    """Return `first` with the entries of `second`.

    Args:
        first, second: nested values.
        kept: says which arguments of the class before stay when `second` names another one, from that one's name and
            those arguments; none stay without it.
    """
    if second.get("class_path", first.get("class_path")) != first.get("class_path"):
        before = first.get("init_args") or {}
        first = {key: value for key, value in first.items() if key != "init_args"}
        if kept is not None:
            first["init_args"] = kept(str(second["class_path"]), before)
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge_settings(merged[key], value, kept) if both else value
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


def _listed(value: Any) -> list[Any]:
    """Return the values of a list, a single one, or none."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _with_argument(described: Any, parts: Sequence[str], value: Any) -> dict[str, Any]:
    """Return the description of an object, a class's name or a mapping, with one argument set."""
    before = {"class_path": described} if isinstance(described, str) else described
    parts = parts if parts[0] in ("class_path", "init_args", "dict_kwargs") else ["init_args", *parts]
    return merge_settings(before if isinstance(before, Mapping) else {}, nested(parts, value))


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
