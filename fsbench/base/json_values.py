"""Settings as values of JSON: those that JSON has stand for themselves, others are told by their type and value."""

import json
import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any


def json_value(value: Any) -> Any:
    """Return a setting as a value of JSON, equal in all processes for equal settings, and different for others.

    >>> from pathlib import Path
    >>> json_value({"epochs": 3, "parts": {"b", "a"}, "where": Path("here")})
    {'epochs': 3, 'parts': {'type': 'set', 'value': ['a', 'b']}, 'where': {'type': 'path', 'value': 'here'}}
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if isinstance(value, Namespace):
        return json_value(vars(value))
    if isinstance(value, Mapping):
        return {_key(key): json_value(entry) for key, entry in value.items()}
    if kind in (list, tuple):
        return [json_value(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return {"type": "path", "value": str(value)}
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return {"type": "name", "value": f"{value.__module__}.{value.__qualname__}"}
    return {"type": _name(kind), "value": _content(value)}


def _content(value: Any) -> Any:
    """Return what tells a value of its type from others."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, set | frozenset):
        return sorted(map(json_value, value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [json_value(entry) for entry in value]
    if is_dataclass(value):
        return {one.name: json_value(getattr(value, one.name)) for one in fields(value)}
    if hasattr(value, "tolist"):  # of tensors and arrays, of which repr shows a part
        return {"dtype": str(value.dtype), "entries": json_value(value.tolist())}
    text = repr(value)
    is_address = " at 0x" in text  # which tells nothing, and is another one in each process
    return json_value(getattr(value, "__dict__", {})) if is_address else text


def _key(key: Any) -> Any:
    return key if key is None or type(key) in (bool, int, float, str) else f"{_name(type(key))} {_content(key)}"


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
