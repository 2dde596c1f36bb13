"""The code of a function that answers a test: an evaluation that goes on compares it with that of before."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from fsbench.base.files import fingerprint
from fsbench.base.own_modules import is_own

NO_CODE = ("__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__annotations__")
"""Entries of a class that run nothing."""
PLAIN = (type(None), bool, int, float, complex, str, bytes, frozenset)
"""Types of values that are part of code."""


def code_sha256(model: Any) -> str:
    """Return a hash of the code of an object, including all functions and classes of the user that the code refers to.

    The hash covers numbers and texts in the code or the object. It does not cover other contents of the object, such as
    weights and lists, nor the code of installed packages, of which only names enter.
    """
    parts: list[str] = []
    for value in _reached(model):
        if isinstance(value, frozenset):
            parts += sorted(map(repr, value))
        elif isinstance(value, PLAIN):
            parts.append(repr(value))
    return fingerprint(parts)


def _reached(model: Any) -> Iterator[Any]:
    """Yield what the code of an object leads to, each object once and plain values as often as they stand in it."""
    left, seen = [model], dict[int, Any]()  # objects, which stay: another would get the number of one that is gone
    while left:
        value = left.pop()
        if isinstance(value, PLAIN):
            yield value
        elif isinstance(value, tuple):
            left += reversed(value)
        elif id(value) not in seen and not isinstance(value, ModuleType):
            seen[id(value)] = value
            yield value
            left += reversed([*_inside(value)])


def _inside(value: Any) -> Iterator[Any]:
    """Yield what code leads to from an object that is no plain value; of a user's own modules, as a notebook is one."""
    module: str = getattr(value, "__module__", None) or "__main__"
    is_users = module == "__main__" or is_own(module, getattr(sys.modules.get(module), "__file__", None))
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        yield value.__qualname__  # all that is compared of what is installed
    if isinstance(value, CodeType):
        yield from (value.co_code.hex(), value.co_names, value.co_consts)
    elif isinstance(value, type):
        for name, part in vars(value).items() if is_users else ():
            if name not in NO_CODE:
                yield from (name, getattr(part, "fget", None) or getattr(part, "__func__", part))
        yield value.__bases__
    elif isinstance(value, FunctionType):
        if is_users:
            yield from (value.__code__, value.__defaults__, *(value.__kwdefaults__ or {}).values())
            for cell in value.__closure__ or ():
                with suppress(ValueError):  # not set yet
                    yield cell.cell_contents
            names, codes = set[str](), [value.__code__]
            while codes:
                code = codes.pop()
                names.update(code.co_names)
                codes += [part for part in code.co_consts if isinstance(part, CodeType)]
            for name in sorted(names & value.__globals__.keys()):
                found = value.__globals__[name]
                if not isinstance(found, ModuleType):
                    yield from (name, found)
                else:
                    yield from [vars(found)[each] for each in sorted(names & vars(found).keys())]
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    else:
        if isinstance(value, partial):
            yield from (value.func, value.args, *value.keywords.items())
        held = getattr(value, "__dict__", {})
        yield from (type(value), held.get("__wrapped__"))  # of a decorated function
        yield from [(name, part) for name, part in held.items() if isinstance(part, bool | int | float | str)]
