"""Watch over what a method is handed and what is kept for other episodes, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import ContractError

PLACES = 64
"""Numbers of a kept tensor that are compared where its writes cannot be counted."""

KINDS = "?bBhHiIlLqQefd"
"""Types of numpy that torch has, too."""

_whole: ContextVar[bool] = ContextVar("whole", default=False)


@contextmanager
def whole_contents() -> Iterator[None]:
    """Compare all numbers of what is handed out within the block, as `fsbench check-method` does."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


def compares_whole_contents() -> bool:
    """Return whether this is within such a block."""
    return _whole.get()


class Seal:
    """The state of a value when it was sealed, by which a later write to it is found.

    torch counts the writes to a tensor and all its views, but neither those through `.data` or numpy nor those to what
    inference mode made. So some numbers may be compared besides.

    Args:
        value: a tensor or an array, or groups of them.
        places: how many numbers, at equal distances, of each in the CPU's memory are compared besides.
    """

    def __init__(self, value: Any, places: int = 0):
        self.places = -1 if compares_whole_contents() else places
        self._states = [(name, one, _writes(one), _numbers(one, self.places)) for name, one in _tensors(value)]

    def changed(self) -> str | None:
        """Return the name of the first part that was written to, "" for a value without parts; None if none was."""
        for name, one, writes, numbers in self._states:
            if _writes(one) != writes or not (numbers is None or numbers.equal(_numbers(one, self.places))):
                return name
        return None

    def check(self, call: str, what: str) -> None:
        """Raise ContractError, which says that `call` changed `what`, if it was written to."""
        if (part := self.changed()) is not None:
            raise ContractError(
                f"{call} changed {what}{part} in place; expected it as it was, since it is kept for other episodes; "
                "copy what is to be changed (.clone()), and use no operation whose name ends with _ on it"
            )


@contextmanager
def unchanged(call: str, **given: Any) -> Iterator[None]:
    """Raise ContractError if what was given is written to within the block; nothing of it is copied in a run.

    Args:
        call: whose block it is, for messages.
        given: tensors, or groups of them, by the names of arguments.
    """
    seals = {name: Seal(value) for name, value in given.items()}
    yield
    for name, seal in seals.items():
        seal.check(call, f"its argument {name}")


def _writes(tensor: Tensor) -> int | None:
    """Return how often a tensor was written to; None where nobody counts it."""
    return None if tensor.is_inference() else tensor._version


def _numbers(tensor: Tensor, places: int) -> Any:
    """Copy numbers at equal distances of the memory that a tensor lies in, as bytes: NaN equals itself then.

    With places = -1 they are all of the tensor's own, wherever it is; None where there are none to compare.
    """
    if places < 0:
        return tensor.detach().flatten().clone().view(torch.uint8)
    if not places or tensor.device.type != "cpu":
        return None
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    step = max(1, count // places)
    return tensor.detach().as_strided((-(-count // step),), (step,), 0).clone().view(torch.uint8)


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a value and the names of the fields and entries that lead to each; arrays as tensors."""
    if isinstance(value, np.ndarray) and value.flags.carray and value.dtype.isnative and value.dtype.char in KINDS:
        value = torch.from_numpy(value)
    if isinstance(value, Tensor) and value.layout == torch.strided:
        yield name, value
    parts: Any = ()
    if is_dataclass(value) and not isinstance(value, type):
        parts = [(f"{name}.{field.name}", getattr(value, field.name)) for field in fields(value)]
    elif isinstance(value, dict):
        parts = [(f"{name}.{key}", part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(name, part) for part in value]
    for inner, part in parts:
        yield from _tensors(part, inner)
