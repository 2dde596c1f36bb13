"""Checkpoints of plain values: tensors, numbers, texts, lists and dicts, which every program reads without unpickling.

A value of another type that is known here is written as its plain counterpart. A note beside the entries says which
type it had, so that a training goes on with the same; a program that does not know the notes finds equal numbers.
"""

import sys
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from fsbench.base.errors import CheckpointError

TYPES = "fsbench_types"
"""Key of a checkpoint's notes: the place of an entry, as a tuple of keys, -> the name of its type and an argument."""

READABLE = {type(None), bool, int, float, complex, bytearray, Tensor, Parameter}
READABLE |= {torch.dtype, torch.device, torch.layout, torch.Size}
"""Types, besides texts and containers, that `torch.load` makes with `weights_only=True`."""

FACTORIES = {kind.__name__: kind for kind in (int, float, str, bool, list, dict, set)}
"""Functions that a defaultdict may have."""

Place = tuple[Any, ...]
Note = tuple[str, Any]

RESTORED: dict[str, Callable[[Any, Any], Any]] = {
    "bytes": lambda content, _: bytes(content),
    "set": lambda content, _: set(content),
    "frozenset": lambda content, _: frozenset(content),
    "path": lambda content, _: Path(content),
    "namespace": lambda content, _: Namespace(**content),
    "counter": lambda content, _: Counter(content),
    "deque": deque,
    "defaultdict": lambda content, factory: defaultdict(factory and FACTORIES[factory], content),
    "numpy number": lambda content, dtype: np.array(content, dtype)[()],
    "numpy array": lambda content, _: content.numpy(),
}
"""Names of types -> function of the plain counterpart and the argument that returns what was there."""


def plain_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint converted to plain values (tensors, numbers, texts, lists, dicts), and notes on types.

    The notes, by which `restored_checkpoint` restores types such as sets and paths, are one more entry. Equal texts
    become one object, because pickle writes an object once; so equal checkpoints have equal bytes.

    Raises:
        CheckpointError: an entry cannot be converted to plain values; the message names it.
    """
    types: dict[Place, Note] = {}
    try:
        content = {key: plain(value, (key,), types) for key, value in checkpoint.items()}
    except RecursionError:
        raise CheckpointError(
            "the checkpoint of this training would hold an entry that contains itself; expected plain values"
        ) from None
    return content | {TYPES: types} if types else content


def restored_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Restore the original types of a checkpoint from `plain_checkpoint`, in place, and return it.

    Raises:
        Exception: of any type, if the notes on types in the checkpoint do not fit its entries.
    """
    types = checkpoint.pop(TYPES, None)
    return checkpoint if types is None else dict(_restore(checkpoint, (), types))


def plain(value: Any, place: Place, types: dict[Place, Note]) -> Any:
    """Convert an entry of a checkpoint to plain values; notes on the original types are added to `types`.

    Args:
        value: the entry.
        place: the keys that lead to the entry in the checkpoint.
        types: {keys that lead to an entry: (name of the original type, detail)}, to which notes on this entry are
            added.

    Raises:
        CheckpointError: the entry, or one in it, cannot be converted; the message names its place and type.

    >>> notes = {}
    >>> plain({"best": np.float64(0.5), "seen": {3, 1}}, ("mine",), notes)
    {'best': 0.5, 'seen': [1, 3]}
    >>> notes
    {('mine', 'best'): ('numpy number', '<f8'), ('mine', 'seen'): ('set', None)}
    """
    kind = type(value)
    if kind is str:
        return sys.intern(value)
    if kind in READABLE:
        return value
    if kind in (list, tuple):
        return kind(plain(entry, (*place, index), types) for index, entry in enumerate(value))
    if kind in (dict, OrderedDict):
        keys = {_plain_key(key, place): entry for key, entry in value.items()}
        copy = kind((key, plain(entry, (*place, key), types)) for key, entry in keys.items())
        if kind is OrderedDict:  # a state_dict tells the versions of its modules there
            vars(copy).update(plain(vars(value), (*place, "attributes"), {}))
        return copy
    counterpart = _counterpart(value)
    if counterpart is None:
        if isinstance(value, str):  # such as torch.__version__, or an Enum of texts: equal to what is written
            return str.__str__(value)
        if isinstance(value, int | float):
            return int(value) if isinstance(value, int) else float(value)
        raise _not_plain(value, place)
    content, types[place] = counterpart
    return plain(content, place, types)


def _counterpart(value: Any) -> tuple[Any, Note] | None:
    """Return what stands for a value in a file, and the note on its type; None for a type that is not known."""
    kind = type(value)
    if kind is bytes:
        return bytearray(value), ("bytes", None)
    if kind in (set, frozenset):
        return sorted(value, key=repr), (kind.__name__, None)  # the order of a set changes from process to process
    if kind is Counter:
        return dict(value), ("counter", None)
    if kind is deque:
        return list(value), ("deque", value.maxlen)
    if kind is defaultdict and value.default_factory in (None, *FACTORIES.values()):
        return dict(value), ("defaultdict", value.default_factory and value.default_factory.__name__)
    if kind is Namespace:
        return vars(value), ("namespace", None)
    if isinstance(value, Path):
        return str(value), ("path", None)
    if isinstance(value, np.number | np.bool_ | np.str_) and type(value.item()) in (*READABLE, str):
        return value.item(), ("numpy number", value.dtype.str)
    if kind is np.ndarray and value.dtype.isnative and value.dtype.kind in "biufc":
        try:
            return torch.tensor(value.copy()), ("numpy array", None)
        except TypeError:  # torch has no such numbers
            return None
    return None


def _plain_key(key: Any, place: Place) -> Any:
    """Return a dict's key as a plain value that is equal to it."""
    if isinstance(key, np.generic):
        key = key.item()
    if type(key) is tuple:
        return tuple(_plain_key(part, place) for part in key)
    if type(key) is str:
        return sys.intern(key)
    if type(key) not in (bool, int, float, type(None)):
        raise _not_plain(key, (*place, key))
    return key


def _not_plain(value: Any, place: Place) -> CheckpointError:
    keys = ": ".join(str(key) for key in place)
    return CheckpointError(
        f"the checkpoint of this training would hold {keys} ({type(value).__name__}), which nobody can read without "
        "running code that the file names; expected tensors, numbers, texts, lists, dicts, sets, paths or NumPy's "
        "arrays of numbers; save the numbers and texts of this object instead (of a schedule in its state_dict()), and "
        "make it anew from them where they are loaded"
    )


def _restore(value: Any, place: Place, types: dict[Place, Note]) -> Any:
    kind = type(value)
    if kind in (dict, OrderedDict):
        for key, entry in value.items():
            value[key] = _restore(entry, (*place, key), types)
    elif kind in (list, tuple):
        value = kind(_restore(entry, (*place, index), types) for index, entry in enumerate(value))
    if place not in types:
        return value
    name, argument = types[place]
    return RESTORED[name](value, argument)
