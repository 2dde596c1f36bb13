"""Pickles of the authors, read as data: containers, text, numbers and arrays of numbers, and nothing is ever called.

Python's own reader cannot be made safe by allowing few classes: a forged state crashes numpy, a large place in the memo
takes all memory, and the hash of a deeply nested tuple ends the process. Here `pickletools` takes the file apart, and a
stack of plain values does the rest.
"""

import pickletools
import re
import reprlib
from collections.abc import Callable, Hashable
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_bytes

_NUMBERS = re.compile(r"[iu][1248]|f[248]|b1|\?")
"""Element types of arrays, without their byte order."""
_KEYS = (str, int, bytes, float, np.generic, type(None))
"""Types of dictionary keys and members of sets; those of a tuple may be nested too deep to be hashed."""
_INTEGERS = range(-(1 << 63), 1 << 64)
_MOST_AXES, _LONGEST_AXIS = 8, 1 << 31
_LITERALS = (
    "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
)  # fmt: skip


class _Name:
    """The name of a function or class in a pickle; what it stands for is never looked up."""

    def __init__(self, module: str, name: str):
        self.text = f"{module.replace('numpy._core', 'numpy.core').replace('__builtin__', 'builtins')}.{name}"
        if self.text not in _FACTORIES | _MAKERS.keys():
            raise ValueError(f"it asks for {module}.{name}")


class _ElementType:
    """The element type of an array: a code of numpy's, and a byte order that a later state may set."""

    def __init__(self, code: object, *_: object):
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise ValueError(f"it has an array of {reprlib.repr(code)}")
        self.code, self.order = code, "="

    def set_state(self, state: object) -> None:
        _, order, *more = state if isinstance(state, tuple) and len(state) > 4 else (None, None)
        if order not in ("<", ">", "|", "=") or any(part is not None for part in more[:3]):
            raise ValueError("it has an array of structures")
        self.order = str(order)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order.replace("|", "=") + self.code)


def _empty_array(*_: object) -> np.ndarray:
    return np.empty(0, np.uint8)


def _fill(array: np.ndarray, state: object) -> None:
    """Give an array of `_empty_array` its shape and values, as all who refer to it shall see them."""
    _, shape, kind, fortran, data = state if isinstance(state, tuple) and len(state) == 5 else (None,) * 5
    lengths = shape if isinstance(shape, tuple) and len(shape) <= _MOST_AXES else (-1,)
    if not all(type(length) is int and 0 <= length <= _LONGEST_AXIS for length in lengths):
        raise ValueError(f"it has an array of shape {reprlib.repr(shape)}")
    if not isinstance(kind, _ElementType) or not isinstance(data, bytes):
        raise ValueError("it has an array of objects")
    if prod(lengths) * kind.dtype.itemsize != len(data):
        raise ValueError(f"it has an array of shape {lengths} with {len(data)} bytes")
    array.__setstate__((1, lengths, kind.dtype, bool(fortran), data))  # type: ignore[arg-type]


def _number(kind: object, data: object) -> np.generic:
    if not isinstance(kind, _ElementType) or not isinstance(data, bytes) or len(data) != kind.dtype.itemsize:
        raise ValueError("it has an unusable number")
    value: np.generic = np.frombuffer(data, kind.dtype)[0]
    return value


def _bytes(text: object = "", encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("it has unusable bytes")
    return text.encode("latin1")


def _set(members: object = ()) -> set[Hashable]:
    return set(map(_key, _as_list(members)))


def _dictionary(pairs: object = ()) -> dict[Hashable, Any]:
    return {_key(key): value for key, value in map(_as_list, _as_list(pairs))}


def _as_list(value: object) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"it has {type(value).__name__} in place of a list")
    return list(value)


def _key(value: Any) -> Hashable:
    if not isinstance(value, _KEYS):
        raise ValueError(f"it has {type(value).__name__} as a key")
    return value


_MAKERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": lambda *_: {},
    "builtins.set": _set,
    "builtins.bytes": _bytes,
    "_codecs.encode": _bytes,                    # how older protocols write bytes
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy.core.multiarray.scalar": _number,
    "numpy.dtype": _ElementType,
}  # fmt: skip
"""Functions by the names that pickles call: each makes its value from plain values alone."""
_FACTORIES = {"builtins.list", "builtins.dict", "builtins.int", "numpy.ndarray"}
"""Classes that are arguments of those calls."""


class _Machine:
    """The pickle machine: a stack of the values that a pickle has built so far, its marks and its memo.

    Args:
        size: bytes of the pickle, which bound what calls can copy.

    Attributes:
        steps: what each opcode does, by its name in `pickletools`; those that are not there are not data.
    """

    def __init__(self, size: int):
        self.values: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._left = 2 * size
        push = self.values.append
        self.steps: dict[str, Callable[[Any], Any]] = {
            **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda _: None),
            **dict.fromkeys(_LITERALS, push),
            **dict.fromkeys(("INT", "LONG", "LONG1", "LONG4"), lambda number: push(_integer(number))),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda place: push(self._memo[place])),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._memorise),
            "MEMOIZE": lambda _: self._memorise(len(self._memo)),
            "NONE": lambda _: push(None),
            "NEWTRUE": lambda _: push(True),
            "NEWFALSE": lambda _: push(False),
            "EMPTY_LIST": lambda _: push([]),
            "EMPTY_DICT": lambda _: push({}),
            "EMPTY_TUPLE": lambda _: push(()),
            "EMPTY_SET": lambda _: push(set()),
            "MARK": lambda _: self._marks.append(len(self.values)),
            "TUPLE": lambda _: push(tuple(self._marked())),
            "TUPLE1": lambda _: push(tuple(self._last(1))),
            "TUPLE2": lambda _: push(tuple(self._last(2))),
            "TUPLE3": lambda _: push(tuple(self._last(3))),
            "LIST": lambda _: push(self._marked()),
            "DICT": lambda _: push(_pairs(self._marked())),
            "APPEND": lambda _: self._extend(self._last(1)),
            "APPENDS": lambda _: self._extend(self._marked()),
            "SETITEM": lambda _: self._update(self._last(2)),
            "SETITEMS": lambda _: self._update(self._marked()),
            "ADDITEMS": lambda _: self._add(self._marked()),
            "GLOBAL": lambda text: push(_Name(*text.split(" ", 1))),
            "STACK_GLOBAL": lambda _: push(_Name(*map(str, self._last(2)))),
            "REDUCE": lambda _: push(self._call(*self._last(2))),
            "BUILD": lambda _: self._set_state(self.values.pop()),
            "POP": lambda _: self._last(1),
            "POP_MARK": lambda _: self._marked(),
        }

    def _memorise(self, place: int) -> None:
        self._memo[place] = self.values[-1]

    def _last(self, count: int) -> list[Any]:
        """Take the last `count` values."""
        items = self.values[-count:]
        del self.values[-count:]
        if len(items) < count:
            raise ValueError("it takes more values than there are")
        return items

    def _marked(self) -> list[Any]:
        """Take the values above the last mark."""
        start = self._marks.pop()
        items = self.values[start:]
        del self.values[start:]
        return items

    def _top(self, kind: type) -> Any:
        if type(self.values[-1]) is not kind:
            raise ValueError(f"it adds to {type(self.values[-1]).__name__}")
        return self.values[-1]

    def _extend(self, items: list[Any]) -> None:
        self._top(list).extend(items)

    def _update(self, items: list[Any]) -> None:
        self._top(dict).update(_pairs(items))

    def _add(self, items: list[Any]) -> None:
        self._top(set).update(map(_key, items))

    def _call(self, function: object, arguments: object) -> Any:
        if not isinstance(function, _Name) or function.text not in _MAKERS or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no function")
        made = _MAKERS[function.text](*arguments)
        if isinstance(made, set | dict | bytes):
            self._count(len(made))
        return made

    def _set_state(self, state: object) -> None:
        target = self.values[-1]
        if isinstance(target, np.ndarray):
            _fill(target, state)
            self._count(target.nbytes)
        elif isinstance(target, _ElementType):
            target.set_state(state)
        else:
            raise ValueError("it sets the state of what has none")

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("it copies more than it holds")


def _integer(number: int) -> int:
    if number not in _INTEGERS:
        raise ValueError("it has an integer of more than 64 bits")
    return number


def _pairs(items: list[Any]) -> dict[Hashable, Any]:
    return dict(zip(map(_key, items[::2]), items[1::2], strict=True))


def parse_plain_pickle(content: bytes) -> Any:
    """Return the value of a pickle of containers, text, numbers and arrays of numbers; ordered dictionaries and those
    with a default come as plain ones.

    Raises:
        ValueError: it is no pickle, is cut off, or holds anything else.
    """
    machine = _Machine(len(content))
    try:
        for opcode, argument, _ in pickletools.genops(BytesIO(content)):
            if opcode.name not in machine.steps:
                raise ValueError(f"it has the step {opcode.name}, which is no data")
            machine.steps[opcode.name](argument)
        return machine.values.pop()
    except (IndexError, KeyError, TypeError, UnicodeError, OverflowError) as error:
        raise ValueError(f"it is damaged: {' '.join(str(error).split())[:80]}") from error


def read_annotation_pickle(path: Path, expected: str) -> Any:
    """Return the content of a pickle of annotations; only containers, text and numbers are read, no code is run.

    Raises:
        DataError: it is unreadable; the message says what was `expected`.
    """
    try:
        return parse_plain_pickle(read_bytes(path, "annotations"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"annotation file {path} cannot be read ({reason}); expected {expected}; fetch the authors' file again"
        ) from error
