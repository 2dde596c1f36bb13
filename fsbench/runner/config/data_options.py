"""Keys of the group `data`, which users write flat: `--data.way 2`, `data: {init_args: {way: 2}}`.

A data module takes its options in dataclasses, such as `test` and `training`, and each field is an option. Here alone
flat keys become fields and fields flat keys, by the names in the dataclasses. The nested key `data.test.way` means the
same as `data.way`. An argument that a data module takes itself stays as it is.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pkgutil import resolve_name
from typing import Any, get_type_hints

from fsbench.base.errors import SettingsError

DATA_MODULE = "fsbench.datamodules.episodic.EpisodicDataModule"
"""The data module of configurations that name none."""
DATASETS = ("dataset", "source", "validation_source")
"""Arguments of data modules that are data sets."""


def option_groups(kind: Any) -> dict[str, Any]:
    """Return the dataclasses of options that a data module takes, by argument; none for another class."""
    from lightning import LightningDataModule  # configurations without nested keys are composed without torch

    if not (inspect.isclass(kind) and issubclass(kind, LightningDataModule)):
        return {}
    return {name: one.annotation for name, one in class_parameters(kind).items() if is_dataclass(one.annotation)}


def class_parameters(kind: Any) -> dict[str, inspect.Parameter]:
    """Return the arguments of a class, and where it hands on more by `**`, those of the class that takes them."""
    found: dict[str, inspect.Parameter] = {}
    for owner in inspect.getmro(kind):
        if "__init__" in vars(owner):
            hints, own = _hints(vars(owner)["__init__"]), inspect.signature(owner).parameters.values()
            named = (one for one in own if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
            found |= {one.name: one.replace(annotation=hints.get(one.name)) for one in named if one.name not in found}
            if not any(one.kind is one.VAR_KEYWORD for one in own):
                break
    return found


def _hints(constructor: Any) -> dict[str, Any]:
    try:
        return get_type_hints(constructor)
    except Exception:  # names for type checkers only, annotations in words: none of them is a dataclass of options
        return {}


def group_of_option(kind: Any) -> dict[str, str]:
    """Return the argument of a data module that holds each option; none for names that two arguments could mean."""
    groups = option_groups(kind)
    taken = [*class_parameters(kind), *(one.name for options in groups.values() for one in fields(options))]
    pairs = ((one.name, group) for group, options in groups.items() for one in fields(options))
    return {name: group for name, group in pairs if taken.count(name) == 1}


def option_parameters(kind: Any) -> dict[str, inspect.Parameter]:
    """Return the arguments of a class, in the order of its own; of a data module the fields in place of their group."""
    groups = option_groups(kind)
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in (class_parameters(kind) if groups else inspect.signature(kind).parameters).items():
        parameters |= inspect.signature(groups[name]).parameters if name in groups else {name: parameter}
    return parameters


def flat_arguments(kind: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data module's arguments with the fields of its dataclasses beside the others.

    Raises:
        SettingsError: an option is given as a field and flat, with two values.
    """
    group_of = group_of_option(kind)
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in group_of.values() or not isinstance(value, Mapping):
            flat[name] = value
            continue
        for option, inner in value.items():
            if group_of.get(option) == name:
                if option in arguments and arguments[option] != inner:
                    raise SettingsError(
                        f"data.{option} is {arguments[option]} and data.{name}.{option} is {inner}, which mean the "
                        f"same option; leave data.{name}.{option} out"
                    )
                flat[option] = inner
        if unknown := {option: inner for option, inner in value.items() if group_of.get(option) != name}:
            flat[name] = unknown
    return flat


def grouped_arguments(kind: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data module's arguments with flat options in the dataclasses that have them, as its class takes them."""
    group_of = group_of_option(kind)
    grouped = {name: value for name, value in arguments.items() if name not in group_of}
    for name, value in arguments.items():
        if name in group_of:
            inner = grouped.get(group_of[name], {})
            if isinstance(inner, Mapping):  # else the parser refuses what is there in place of the dataclass
                grouped[group_of[name]] = {**inner, name: value}
    return grouped


def flat_values(values: Mapping[str, Any], named: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a configuration's values with flat keys in the group `data`.

    A data module is imported only where there is something nested that is no data set.

    Args:
        values: nested values, as YAML files have them.
        named: values that name the data module where `values` does not.
    """
    arguments = _data(values).get("init_args")
    if not isinstance(arguments, Mapping):
        return dict(values)
    if not any(isinstance(value, Mapping) for name, value in arguments.items() if name not in DATASETS):
        return dict(values)
    kind = _data_module(_data(values).get("class_path") or _data(named or {}).get("class_path"))
    return dict(values) if kind is None else _with_arguments(values, flat_arguments(kind, arguments))


def grouped_parts(parts: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a configuration for the parser, with the options of data modules in their dataclasses.

    Where a later part names another data module, options that its dataclasses lack are left out of earlier parts: the
    parser hands a dataclass's values on to the next class.
    """
    kinds: list[Any] = []
    class_path: Any = None
    for part in parts:
        class_path = _data(part).get("class_path", class_path)
        kinds.append(_data_module(class_path))
    for place, (part, kind) in enumerate(zip(parts, kinds, strict=True)):
        if kind is None:
            yield part
        elif isinstance(arguments := _data(part).get("init_args"), Mapping):
            group_of, later = group_of_option(kind), {other for other in kinds[place:] if other not in (None, kind)}
            others = [group_of_option(other) for other in later]
            kept = {
                name: value
                for name, value in arguments.items()
                if name not in group_of or all(other.get(name) == group_of[name] for other in others)
            }
            yield _with_arguments(part, grouped_arguments(kind, kept))
        else:
            yield part


def flat_key(key: str, values: Mapping[str, Any]) -> str:
    """Return the key `data.way` for `data.test.way`, and every other key as it is.

    Args:
        key: a dotted key.
        values: nested values that name the data module.
    """
    words = key.split(".")
    kind = _data_module(_data(values).get("class_path")) if words[0] == "data" and len(words) > 2 else None
    is_nested = kind is not None and group_of_option(kind).get(words[2]) == words[1]
    return ".".join((words[0], *words[2:])) if is_nested else key


def _data(values: Mapping[str, Any]) -> Mapping[str, Any]:
    data = values.get("data")
    return data if isinstance(data, Mapping) else {}


def _with_arguments(values: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "data": {**_data(values), "init_args": dict(arguments)}}


def _data_module(class_path: Any) -> Any:
    """Import a data module; None where that fails, which the parser then says."""
    try:
        found = resolve_name(str(class_path or DATA_MODULE))
    except Exception:  # whatever its module raises
        return None
    return found if option_groups(found) else None
