"""Settings as values of JSON: those that JSON has stand for themselves, others are told by their type and value."""

import json
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

from fsbench.base.errors import SettingsError


def json_value(value: Any) -> Any:
    """Return a setting as a value of JSON, equal in all processes for equal settings, and different for others.

    >>> from pathlib import Path
    >>> json_value({"epochs": 3, "parts": {"b", "a"}, "where": Path("here")})
    {'epochs': 3, 'parts': {'type': 'set', 'value': ['a', 'b']}, 'where': {'type': 'path', 'value': 'here'}}

    Raises:
        SettingsError: the value holds itself, a function without a name of its own, or what no pickle could hold.
    """
    try:
        return _told(value)
    except RecursionError:
        raise SettingsError(
            f"a setting is a {_name(type(value))} that holds itself, so that its value cannot be written out; give "
            "plain values or objects that do not"
        ) from None


def _told(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if isinstance(value, Namespace):
        return _told(vars(value))
    if isinstance(value, Mapping):
        return {_key(key): _told(entry) for key, entry in value.items()}
    if kind in (list, tuple):
        return [_told(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return {"type": "path", "value": str(value)}
    if isinstance(value, type | FunctionType) or _is_builtin_function(value):
        name = f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, FunctionType) and "<" in name:
            raise SettingsError(
                f"a setting holds the function {name}, which nothing tells from others of this name; give one that a "
                "module defines by its own name"
            )
        return {"type": "name", "value": name}
    return {"type": _name(kind), "value": _content(value)}


def _content(value: Any) -> Any:
    """Return what tells a value of its type from others."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, set | frozenset):
        return sorted(map(_told, value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [_told(entry) for entry in value]
    if is_dataclass(value):
        return {one.name: _told(getattr(value, one.name)) for one in fields(value)}
    if hasattr(value, "tolist"):  # of tensors and arrays, of which repr shows a part
        return {"dtype": str(value.dtype), "entries": _told(value.tolist())}
    text = repr(value)
    is_address = " at 0x" in text  # which tells nothing, and is another one in each process
    return _pickled(value) if is_address or isinstance(value, partial | MethodType) else text


def _pickled(value: Any) -> Any:
    """Return what a pickle of an object would hold: what it is made with, its attributes and its entries."""
    try:
        reduced = value.__reduce_ex__(2)
    except RecursionError:
        raise
    except Exception as error:  # whatever its class raises
        raise SettingsError(
            f"a setting holds a {_name(type(value))}, whose value cannot be written out ({error}); give plain values, "
            "or a function or class that a module defines"
        ) from None
    return reduced if isinstance(reduced, str) else [_told(_listed(part)) for part in reduced[1:]]


def _listed(part: Any) -> Any:
    return list(part) if isinstance(part, Iterator) else part


def _is_builtin_function(value: Any) -> bool:
    """Return whether a value is a function in C that is not bound to an object, as that of a list's `append` is."""
    return isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType | type | NoneType)


def _key(key: Any) -> Any:
    return key if key is None or type(key) in (bool, int, float, str) else f"{_name(type(key))} {_content(key)}"


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
