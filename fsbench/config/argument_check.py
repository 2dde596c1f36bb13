"""Arguments of a run in LightningCLI's form, read without importing what they configure.

The real parser (`fsbench.config.build`) imports torch, Lightning and the classes first. Here the files are merged as
it merges them, and keys are compared with the sources of the classes, which finds a misspelt one in milliseconds. What
this cannot decide is left to the parser.
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fsbench.config.class_source import class_source
from fsbench.config.registry import read_settings
from fsbench.config.settings import full_key, nested, parse_value, value_at
from fsbench.config.shipped import merge_settings
from fsbench.errors import FsbenchError, SettingsError, did_you_mean

GROUPS = ("seed_everything", "task", "trainer", "model", "data", "run", "optimizer", "lr_scheduler")
"""First parts of a run's keys."""
ASKING = ("help", "print_config")
"""Last parts of arguments that show something instead of running."""
_SOURCES = {"trainer": "lightning.pytorch.trainer.trainer.Trainer", "run": "fsbench.config.build.RunOptions"}
_DEEP = 4
"""Parts of the shortest key, such as `model.init_args.backbone.weights`, that the parser hands on twice."""
_WITH_CLASSES = ("--model", "--data")
"""First parts of the arguments for which it does."""
_BUILT = {"model": ("model",), "data": ("data",), "dataset": ("data", "init_args", "dataset")}
"""Places of the classes that a run builds."""


def split_arguments(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield (key, value) of `--key=value` and `--key value`.

    The value is None where there is none; the key is empty for a word that belongs to no key.
    """
    words = iter([*arguments, "--"])
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
    return "-h" in arguments or any(key.rpartition(".")[2] in ASKING for key, _ in split_arguments(arguments))


def read_arguments(arguments: Sequence[str], options: Iterable[str] = ()) -> tuple[dict[str, Any], list[FsbenchError]]:
    """Merge what the files and arguments set, and collect the keys that nothing has.

    Args:
        arguments: in LightningCLI's form.
        options: options of the command that a misspelt argument may have meant.

    Returns:
        Nested values as in the files, and an error for each unreadable file and unknown key.
    """
    values: dict[str, Any] = {}
    errors: list[FsbenchError] = []
    for key, value in split_arguments(arguments):
        parts = full_key(key.removesuffix("+"))
        if not key or parts[0] not in (*GROUPS, "config", *ASKING):
            word = f"--{key}" if key else str(value)
            known = [f"--{name}" for name in (*options, *GROUPS)]
            errors.append(SettingsError(f"unrecognized arguments: {word}{did_you_mean(word.split('.')[0], known)}"))
        elif key == "config":
            try:
                given = read_settings(Path(value or ""))
            except SettingsError as error:
                errors.append(error)
                continue
            values = merge_settings(values, _with_class_paths(given))
            errors += _unknown_in_file(value or "", given, values)
        elif parts[-1] not in ASKING and value is not None:
            values = merge_settings(values, _with_class_paths(nested(parts, parse_value(value))))
            errors += _unknown_keys(key, value, parts, values)
    return values, errors


def with_nulls(arguments: Sequence[str]) -> list[str]:
    """Write each setting that holds null, deep in the method or the data, as the text of a configuration file.

    jsonargparse passes `--model.backbone.weights=null` on to the parser of the inner class by Python's `str`, so that a
    parameter of type `str | None` would be the word "None", and one of type `int | None` be refused.

    Args:
        arguments: in LightningCLI's form.

    Returns:
        The arguments; where such a setting stood, `--config={"model": …}` has all of `backbone` as it is set so far.
    """
    result: list[str] = []
    words = list(arguments)
    while words:
        before = arguments[: len(arguments) - len(words)]
        word = words.pop(0)
        key, sign, value = word.partition("=")
        parts = full_key(key.removeprefix("--"))
        if (
            key.split(".")[0] not in _WITH_CLASSES
            or len(parts) < _DEEP
            or parts[-1] in ASKING
            or parts[-1].endswith("+")
        ):
            result.append(word)
            continue
        if not sign and words and not words[0].startswith("--"):
            value = words.pop(0)
            word = f"{word}={value}"
        read = parse_value(value) if value else value
        if _holds_null(read):
            so_far, outer = value_at(read_arguments(before)[0], parts[: _DEEP - 1]), parts[: _DEEP - 1]
            whole = merge_settings(nested(outer, so_far), nested(parts, read))
            word = f"--config={json.dumps(whole, default=str)}"
        result.append(word)
    return result


def _holds_null(value: Any) -> bool:
    """Return whether a value, or one within it, is None."""
    if isinstance(value, Mapping):
        return any(map(_holds_null, value.values()))
    return value is None or (isinstance(value, list) and any(map(_holds_null, value)))


def described_keys(arguments: Sequence[str]) -> str:
    """Return the keys of a run's groups in words; of model and data those of the classes that `arguments` name."""
    values, _ = read_arguments(arguments)
    text = [
        "  --config FILE        settings in YAML, as in configs/; may be repeated, later ones win",
        "  --print_config       show all settings, and run nothing",
        "  --seed_everything N  seed of first weights and of training episodes",
    ]
    classes = {"run": _SOURCES["run"], "data": "datamodules.episodic.EpisodicDataModule", "model": None}
    classes["trainer"] = _SOURCES["trainer"]
    for group, default in classes.items():
        class_path = value_at(values, (group, "class_path")) or default
        source = class_source(str(class_path)) if class_path else None
        known = ", ".join(source.parameters or ()) if source else "those of the method; name its file with --config"
        text += textwrap.wrap(f"--{group}.KEY: {known}", 100, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(text)


def no_option(class_path: str, name: str, known: Sequence[str]) -> str:
    """Return the message about an argument that the constructor of a class does not have."""
    hint = did_you_mean(name, known).removeprefix("; ") or f"there are: {', '.join(known)}"
    return f"{class_path} has no option '{name}'; {hint}"


def _with_class_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write a class that is given by its name alone as a mapping."""
    result = dict(values)
    for key in ("model", "data", "dataset"):
        if isinstance(result.get(key), str):
            result[key] = {"class_path": result[key]}
    for key in ("data", "init_args"):
        if isinstance(result.get(key), Mapping):
            result[key] = _with_class_paths(result[key])
    return result


def _unknown_keys(key: str, value: str, parts: Sequence[str], values: Mapping[str, Any]) -> list[FsbenchError]:
    """Return an error where a dotted key of the command line has no place in what is built."""
    if parts[0] in _SOURCES and len(parts) > 1:
        source = class_source(_SOURCES[parts[0]])
        known = source.parameters if source else None
        if known is None or parts[1] in known:
            return []
        guess = did_you_mean(f"--{parts[0]}.{parts[1]}", [f"--{parts[0]}.{name}" for name in known])
        return [SettingsError(f"unrecognized arguments: --{key}={value}{guess}")]
    errors = []
    for place in _BUILT.values():
        if len(parts) > len(place) + 1 and (*parts[: len(place)], parts[len(place)]) == (*place, "init_args"):
            errors += _unknown_names(value_at(values, (*place, "class_path")), [parts[len(place) + 1]])
    return errors


def _unknown_in_file(file: str, given: Mapping[str, Any], values: Mapping[str, Any]) -> list[FsbenchError]:
    """Return an error for each key of a file that has no place in what is built."""
    strange = [str(key) for key in given if key not in GROUPS]
    errors: list[FsbenchError] = [
        SettingsError(f"{file} has the unknown key '{key}'{did_you_mean(key, GROUPS) or f'; there are: {_listed()}'}")
        for key in strange
    ]
    for place in _BUILT.values():
        arguments = value_at(_with_class_paths(given), (*place, "init_args"))
        if isinstance(arguments, Mapping):
            errors += _unknown_names(value_at(values, (*place, "class_path")), arguments)
    return errors


def _unknown_names(class_path: Any, names: Iterable[Any]) -> list[FsbenchError]:
    source = class_source(class_path) if isinstance(class_path, str) else None
    known = source.parameters if source else None
    if known is None:
        return []
    return [SettingsError(no_option(str(class_path), str(name), known)) for name in names if name not in known]


def _listed() -> str:
    return ", ".join(GROUPS)
