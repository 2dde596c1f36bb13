"""The code of a function that answers a test: an evaluation that goes on compares it with that of before."""

import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from fsbench.base.files import fingerprint

INSTALLED = (*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), site.getusersitepackages())
"""Folders of code that nobody edits between two starts."""
NO_CODE = ("__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__annotations__")
"""Entries of a class that run nothing."""


def code_sha256(model: Any) -> str:
    """Hash the code that runs when an object is called: its own, and all functions and classes of its user's it names.

    Numbers and texts that the code names are part of it, and those that the object holds. What else objects hold, such
    as weights and lists, is not, nor are installed packages.

    >>> half = lambda value: value / 2
    >>> half_again, third = (lambda value: value / 2), (lambda value: value / 3)
    >>> code_sha256(half) == code_sha256(half_again), code_sha256(half) == code_sha256(third)
    (True, False)
    """
    return fingerprint(list(_parts(model, set())))


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    """Yield instructions, names and plain values of all code that `value` leads to, each object once."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield repr(value)
    elif isinstance(value, tuple):
        for part in value:
            yield from _parts(part, seen)
    elif isinstance(value, frozenset):
        yield from sorted(map(repr, value))
    elif id(value) not in seen and not isinstance(value, ModuleType):
        seen.add(id(value))
        for part in _inside(value):
            yield from _parts(part, seen)


def _inside(value: Any) -> Iterator[Any]:
    """Yield what code leads to from an object that is no plain value; of a user's own modules, as a notebook is one."""
    module = getattr(value, "__module__", None)
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    is_installed = file is None or file.startswith(INSTALLED) or module.partition(".")[0] == "fsbench"
    is_own = module in (None, "__main__") or not is_installed
    if isinstance(value, CodeType):
        yield from (value.co_code.hex(), value.co_names, value.co_consts)
    elif isinstance(value, type):
        for name, part in vars(value).items() if is_own else ():
            if name not in NO_CODE:
                yield from (name, getattr(part, "fget", None) or getattr(part, "__func__", part))
        yield value.__bases__
    elif isinstance(value, FunctionType):
        if is_own:
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
        yield from (type(value), getattr(value, "__wrapped__", None), getattr(value, "func", None))
        held = dict(getattr(value, "__dict__", {})) | (getattr(value, "keywords", None) or {})
        yield getattr(value, "args", None) if hasattr(value, "func") else None  # of functools.partial
        yield from [(name, part) for name, part in held.items() if isinstance(part, bool | int | float | str)]
